"""The event log over Redis: lost events are noticed, not skipped."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from engines import running_redis
from redis import Redis

from app.chat.streams.event_log import (
    KEEP_SECONDS,
    RECONNECT,
    Event,
    LogLostError,
    frame,
)
from app.chat.streams.redis_event_log import (
    BLOCK_MILLISECONDS,
    LIVE_SECONDS,
    RedisEventLog,
)

RUN_ID = uuid.UUID(int=1)


def event(number: int, kind: str = "text") -> Event:
    return Event(RUN_ID, number, frame(number, kind, {}))


async def until(received: list[bytes | None], last: bytes | None) -> None:
    while last not in received:
        await asyncio.sleep(0.01)


def test_a_lost_event_is_a_gap_for_those_who_resume_before_it() -> None:
    async def resume(url: str) -> None:
        log = RedisEventLog(url)
        await log.open(RUN_ID)
        await log.append([event(number) for number in (1, 2, 4, 5)])
        await log.end(RUN_ID, 5)
        for after in (0, 1, 2):
            with pytest.raises(LogLostError):
                await log.follow(RUN_ID, after, [].append)
        received: list[bytes | None] = []
        await log.follow(RUN_ID, 4, received.append)
        assert received == [event(5).frame, None]
        await log.close()

    with running_redis() as url:
        asyncio.run(resume(url))


def test_a_lost_last_event_is_a_gap_too() -> None:
    async def resume(url: str) -> None:
        log = RedisEventLog(url)
        await log.open(RUN_ID)
        await log.append([event(1)])
        received: list[bytes | None] = []
        await log.follow(RUN_ID, 0, received.append)
        await log.end(RUN_ID, 2)
        await until(received, None)
        assert received == [event(1).frame, RECONNECT, None]
        with pytest.raises(LogLostError):
            await log.follow(RUN_ID, 1, [].append)
        await log.close()

    with running_redis() as url:
        asyncio.run(resume(url))


def test_a_log_that_was_opened_again_does_not_reach_further_back() -> None:
    async def resume(url: str) -> None:
        log = RedisEventLog(url)
        await log.open(RUN_ID)
        await log.append([event(1), event(2, "waiting")])
        await log.end(RUN_ID, 2)
        await log.open(RUN_ID, after=2)
        await log.append([event(3)])
        for after in (0, 1):
            with pytest.raises(LogLostError):
                await log.follow(RUN_ID, after, [].append)
        received: list[bytes | None] = []
        await log.follow(RUN_ID, 2, received.append)
        assert received == [event(3).frame]
        await log.close()

    with running_redis() as url:
        asyncio.run(resume(url))


def test_an_answer_that_is_replaced_in_the_middle_is_an_event_like_any_other() -> None:
    async def follow(url: str) -> None:
        log = RedisEventLog(url)
        await log.open(RUN_ID)
        events = [event(1), event(2), event(3, "whole"), event(4)]
        await log.append(events[:2])
        live: list[bytes | None] = []
        await log.follow(RUN_ID, 0, live.append)
        await log.append(events[2:])
        await log.end(RUN_ID, 4)
        await until(live, None)
        frames = [each.frame for each in events]
        assert live == [b"".join(frames[:2]), *frames[2:], None]
        for after in range(4):
            resumed: list[bytes | None] = []
            await log.follow(RUN_ID, after, resumed.append, run_has_ended=True)
            assert resumed == [b"".join(frames[after:]), None]
        await log.close()

    with running_redis() as url:
        asyncio.run(follow(url))


def test_no_log_stays_for_ever_even_if_its_process_dies_after_a_flush() -> None:
    async def write(url: str) -> None:
        log = RedisEventLog(url)
        redis = Redis.from_url(url)
        key = f"run:{RUN_ID}"
        await log.open(RUN_ID, 7)
        assert KEEP_SECONDS < redis.ttl(key) <= LIVE_SECONDS
        redis.flushall()
        await log.append([event(number) for number in range(8, 18)])
        assert KEEP_SECONDS < redis.ttl(key) <= LIVE_SECONDS
        await log.end(RUN_ID, 17)
        assert 0 < redis.ttl(key) <= KEEP_SECONDS
        await log.close()
        redis.close()

    with running_redis() as url:
        asyncio.run(write(url))


def test_a_run_without_new_events_is_not_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[bytes | None] = []

    async def wait(url: str) -> int:
        log = RedisEventLog(url)
        readings = 0
        read: Any = log._redis.xread

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal readings
            readings += 1
            return read(*args, **named)

        monkeypatch.setattr(log._redis, "xread", counted)
        await log.open(RUN_ID)
        await log.follow(RUN_ID, 0, received.append)
        await asyncio.sleep(0.5)
        idle = readings
        await log.append([event(1)])
        await log.end(RUN_ID, 1)
        await until(received, None)
        await log.close()
        return idle

    with running_redis() as url:
        idle = asyncio.run(wait(url))
    assert 0 < idle <= 0.5 / (BLOCK_MILLISECONDS / 1000) + 1
    assert received == [event(1).frame, None]
