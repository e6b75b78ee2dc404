"""The event log of a single process: each follower gets each event once, in order."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine

import pytest
from support import run_async

from app.chat.streams import event_log
from app.chat.streams.event_log import RECONNECT, Event, EventLog, LogLostError, frame

RUN_ID = uuid.UUID(int=1)
Received = list[bytes | None]


def event(number: int, kind: str = "text") -> Event:
    return Event(RUN_ID, number, frame(number, kind, {}))


def run(work: Coroutine[None, None, None]) -> None:
    run_async(work)


def test_an_answer_that_is_replaced_in_the_middle_is_an_event_like_any_other() -> None:
    async def follow() -> None:
        log = EventLog()
        await log.open(RUN_ID)
        events = [event(1), event(2), event(3, "whole"), event(4)]
        await log.append(events[:2])
        live: Received = []
        await log.follow(RUN_ID, 0, live.append)
        await log.append(events[2:])
        await log.end(RUN_ID, 4)
        frames = [each.frame for each in events]
        assert live == [b"".join(frames[:2]), *frames[2:], None]
        for after in range(4):
            resumed: Received = []
            await log.follow(RUN_ID, after, resumed.append, run_has_ended=True)
            assert resumed == [b"".join(frames[after:]), None]

    run(follow())


def test_a_follower_that_has_left_gets_nothing_and_may_leave_again() -> None:
    async def follow() -> None:
        log = EventLog()
        await log.open(RUN_ID)
        stays: Received = []
        leaves: Received = []
        await log.follow(RUN_ID, 0, stays.append)
        unfollow = await log.follow(RUN_ID, 0, leaves.append)
        unfollow()
        unfollow()
        await log.append([event(1)])
        assert stays == [event(1).frame]
        assert leaves == []
        assert log.followed_runs() == [RUN_ID]

    run(follow())


def test_positions_that_the_log_does_not_have_are_refused() -> None:
    async def follow() -> None:
        log = EventLog()
        await log.open(RUN_ID, after=5)  # continues after an approval
        await log.append([event(6)])
        for after in (4, 7):
            with pytest.raises(LogLostError):
                await log.follow(RUN_ID, after, Received().append)
        with pytest.raises(LogLostError):
            await log.follow(uuid.UUID(int=2), 0, Received().append)
        with pytest.raises(LogLostError):  # the run has ended, the log has not
            await log.follow(RUN_ID, 6, Received().append, run_has_ended=True)
        assert log.followed_runs() == []

    run(follow())


def test_a_drain_asks_all_followers_to_reconnect_and_keeps_the_events() -> None:
    async def follow() -> None:
        log = EventLog()
        await log.open(RUN_ID)
        received: Received = []
        await log.follow(RUN_ID, 0, received.append)
        await log.release()
        assert received == [RECONNECT, None]
        await log.append([event(1)])
        resumed: Received = []
        await log.follow(RUN_ID, 0, resumed.append)
        assert resumed == [event(1).frame]

    run(follow())


def test_the_events_of_an_ended_run_are_forgotten_unless_it_was_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "KEEP_SECONDS", 0)

    async def end() -> None:
        log = EventLog()
        await log.open(RUN_ID)
        await log.append([event(1)])
        await log.end(RUN_ID, 1)
        await log.open(RUN_ID, after=1)
        await log.append([event(2)])
        await asyncio.sleep(0.01)
        assert log.size == len(event(2).frame)
        await log.end(RUN_ID, 2)
        await asyncio.sleep(0.01)
        assert log.size == 0

    run(end())
