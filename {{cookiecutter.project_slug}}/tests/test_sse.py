"""Slots for streams: taken before a stream exists, and released once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from uuid import UUID

import pytest

from app.chat.loop import LoopThread
from app.chat.models import Run, RunStatus
from app.chat.streams.event_log import EventLog, LogLostError
from app.chat.streams.sse import OPENING, Streams
from app.errors import Problem

ADA = uuid.UUID(int=1)
BOB = uuid.UUID(int=2)
ENVIRON = {"SERVER_PROTOCOL": "HTTP/1.1"}


class Source:
    """Runs that this process works on."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.log = EventLog()
        self.draining = False

    def works_on(self, run_id: UUID) -> bool:
        return True

    def runs_that_ended(self, run_ids: Sequence[UUID]) -> list[UUID]:
        return []


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def streams(source: Source) -> Streams:
    return Streams(source, most=2, most_per_user=1)


def running(source: Source) -> Run:
    run = Run(id=uuid.uuid4(), status=RunStatus.RUNNING)
    source.loop.submit(source.log.open(run.id)).result()
    return run


def refusal(streams: Streams, user_id: UUID) -> int | None:
    with pytest.raises(Problem) as raised:
        streams.take_slot(user_id)
    return raised.value.code


def test_a_slot_counts_before_its_stream_exists(streams: Streams) -> None:
    slot = streams.take_slot(ADA)
    assert refusal(streams, ADA) == 429
    slot.release()
    streams.take_slot(ADA).release()
    assert not streams.open


def test_a_slot_is_released_only_once(streams: Streams) -> None:
    first = streams.take_slot(ADA)
    first.release()
    second = streams.take_slot(ADA)
    first.release()
    assert refusal(streams, ADA) == 429
    second.release()
    assert not streams.open


def test_no_slot_is_taken_when_the_process_is_full_or_drains(streams: Streams, source: Source) -> None:
    streams.take_slot(ADA)
    bobs = streams.take_slot(BOB)
    assert refusal(streams, uuid.uuid4()) == 503
    bobs.release()
    source.draining = True
    assert refusal(streams, BOB) == 503


def test_a_stream_releases_the_slot_that_it_was_given(streams: Streams, source: Source) -> None:
    run = running(source)
    stream = streams.follow_in(streams.take_slot(ADA), run, 0, ENVIRON)
    assert next(iter(stream)) == OPENING
    assert refusal(streams, ADA) == 429
    stream.close()
    stream.close()
    assert not streams.open


def test_a_stream_that_cannot_start_releases_its_slot(streams: Streams, source: Source) -> None:
    unknown = Run(id=uuid.uuid4(), status=RunStatus.RUNNING)
    with pytest.raises(LogLostError):
        streams.follow_in(streams.take_slot(ADA), unknown, 0, ENVIRON)
    with pytest.raises(LogLostError):
        streams.follow(ADA, unknown, 0, ENVIRON)
    assert not streams.open
