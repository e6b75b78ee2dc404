"""The event log that several processes share: a Redis stream for each run.

The event numbered N has the id `N-0`. The entry `N-1` marks where a log that continues
after event N begins, `N-2` that the run has ended with event N. So a stream that was
flushed, or that misses an event, can be recognised.

One task of each process reads the streams of all runs that are followed there. While
Redis is lost, runs continue without a log, and clients read the saved answer.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias
from uuid import UUID

from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.typing import KeyT, StreamIdT

from app.chat.loop import detached
from app.chat.streams.event_log import (
    KEEP_SECONDS,
    Event,
    EventLog,
    Follower,
    LogLostError,
    Unfollow,
    nothing_to_end,
)

logger = logging.getLogger(__name__)

REDIS_FAILURES = (RedisError, OSError)
TIMEOUT_SECONDS = 1.0
# After a failure, Redis is left alone for this long. Answers are saved between two
# appends, so a silent Redis must not delay each append.
PAUSE_SECONDS = 1.0
# How long a log is kept after its last events. It matters if its process dies.
LIVE_SECONDS = 3600
# The expiry of a log is renewed with every tenth event. That is often enough.
EVENTS_PER_RENEWAL = 10
# The reader looks for newly followed runs at least this often.
BLOCK_MILLISECONDS = 50

# An entry as redis-py returns it: its id and its fields.
RawEntry: TypeAlias = tuple[bytes, dict[bytes, bytes]]


class Entry(NamedTuple):
    """An entry of the Redis stream of a run."""

    number: int
    frame: bytes | None  # None where the entry marks a beginning or the end
    is_end: bool

    def misses_events_after(self, number: int) -> bool:
        """Return whether an event between event *number* and this entry is missing."""
        expected = number if self.frame is None else number + 1
        return self.number > expected


def _key(run_id: UUID) -> str:
    return f"run:{run_id}"


def _run_id(key: bytes) -> UUID:
    return UUID(key.decode().removeprefix("run:"))


def _parsed(entries: Iterable[RawEntry]) -> list[Entry]:
    return [
        Entry(
            number=int(entry_id.split(b"-")[0]),
            frame=fields.get(b"frame"),
            is_end=b"end" in fields,
        )
        for entry_id, fields in entries
    ]


class RedisEventLog(EventLog):
    """The log of all processes. Each process keeps only its own followers in memory."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # A connection that was idle may have been closed, so there is one retry.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[ConnectionError, TimeoutError],
        )
        # The number of the last event of each run that was handed to its followers.
        self._handed_out: dict[UUID, int] = {}
        self._reader: asyncio.Task[None] | None = None
        self._lost_at: float | None = None

    async def open(self, run_id: UUID, after: int = 0) -> None:
        key = _key(run_id)
        pipeline = self._redis.pipeline()
        pipeline.delete(key)
        pipeline.xadd(key, {"begin": ""}, id=f"{after}-1")
        pipeline.expire(key, LIVE_SECONDS)
        await self._execute(pipeline)

    async def append(self, events: Sequence[Event]) -> None:
        """Append events, of any runs.

        Events that cannot be appended are lost to the log, and every reader sees that.
        """
        if not events:
            return
        pipeline = self._redis.pipeline()
        for event in events:
            key = _key(event.run_id)
            pipeline.xadd(key, {"frame": event.frame}, id=f"{event.number}-0")
            if event.number % EVENTS_PER_RENEWAL == 0:
                pipeline.expire(key, LIVE_SECONDS)
        await self._execute(pipeline)

    async def end(self, run_id: UUID, number: int) -> None:
        key = _key(run_id)
        pipeline = self._redis.pipeline()
        pipeline.xadd(key, {"end": ""}, id=f"{number}-2")
        pipeline.expire(key, KEEP_SECONDS)
        await self._execute(pipeline)

    async def _execute(self, pipeline: Pipeline) -> None:
        """Send commands, in one transaction, which wakes each reader only once."""
        if self._pauses():
            return
        try:
            async with pipeline:
                # An entry that Redis refuses is a gap, which readers see. The entries
                # of other runs must not fail with it.
                await pipeline.execute(raise_on_error=False)
        except REDIS_FAILURES as error:
            self._note_loss(error)
        else:
            self._lost_at = None

    def _pauses(self) -> bool:
        if self._lost_at is None:
            return False
        return time.monotonic() < self._lost_at + PAUSE_SECONDS

    def _note_loss(self, error: Exception) -> None:
        if self._lost_at is None:
            logger.warning(
                "the event log is lost (%s); answers continue and are saved",
                type(error).__name__,
            )
        self._lost_at = time.monotonic()

    async def follow(
        self,
        run_id: UUID,
        after: int,
        follower: Follower,
        run_has_ended: bool = False,
    ) -> Unfollow:
        received = after
        while True:
            entries = await self._read_from(run_id, received)
            if run_has_ended and not entries[-1].is_end:
                raise LogLostError(run_id)
            later = [entry for entry in entries if entry.number > received]
            if missed := b"".join(entry.frame for entry in later if entry.frame):
                follower(missed)
            if entries[-1].is_end:
                follower(None)
                return nothing_to_end
            received = entries[-1].number
            if run_id not in self._followers:
                self._handed_out[run_id] = received
            if self._handed_out[run_id] <= received:
                break
            # While this method waited for Redis, the reader has handed out later events
            # to those who followed the run already. Read those too.
        if self._reader is None or self._reader.done():
            self._reader = detached(self._read_followed_runs())
        return self._followers.add(run_id, follower, received)

    async def _read_from(self, run_id: UUID, number: int) -> list[Entry]:
        """Return the entries of a run from event *number* on, at least one.

        Raises:
            LogLostError: if one of them is missing.
        """
        try:
            found = await self._redis.xrange(_key(run_id), min=f"{number}-0")
        except REDIS_FAILURES as error:
            self._note_loss(error)
            raise LogLostError(run_id) from error
        entries = _parsed(found)
        if not entries:
            raise LogLostError(run_id)
        last = number
        for entry in entries:
            if entry.misses_events_after(last):
                raise LogLostError(run_id)
            last = entry.number
        return entries

    async def close(self) -> None:
        await self._redis.aclose()

    async def _read_followed_runs(self) -> None:
        """Hand out new events for as long as a run is followed here."""
        while run_ids := self._followers.runs():
            self._handed_out = {run_id: self._handed_out[run_id] for run_id in run_ids}
            # After the entry that marks a beginning, before the one that marks the end.
            positions: dict[KeyT, StreamIdT] = {
                _key(run_id): f"{number}-1"
                for run_id, number in self._handed_out.items()
            }
            try:
                found = await self._redis.xread(positions, block=BLOCK_MILLISECONDS)
            except REDIS_FAILURES as error:
                self._note_loss(error)
                await self.release()
                return
            for key, entries in found:
                self._hand_out(_run_id(key), _parsed(entries))

    def _hand_out(self, run_id: UUID, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if run_id not in self._followers:
                return
            if entry.misses_events_after(self._handed_out[run_id]):
                self.reconnect(run_id)
                return
            self._handed_out[run_id] = entry.number
            if entry.is_end:
                self._followers.end(run_id)
            elif entry.frame is not None:
                self._followers.hand_out(Event(run_id, entry.number, entry.frame))
