"""The event log that processes share: a Redis stream for each run, read by one task of each process.

The event numbered N has the id ``N-0``; ``0-1`` marks the beginning and ``N-1`` the end, so a stream that was flushed
or lost an event shows it. While Redis is lost, runs go on without a log; those who follow them read the saved answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.chat.event_log import KEEP_SECONDS, Deliver, Event, LogLostError, dismiss

logger = logging.getLogger(__name__)
FAILURES = (RedisError, OSError)
TIMEOUT = 1.0  # seconds
PAUSE = 1.0  # seconds without a try after a failure, so that a silent Redis delays the saving of answers no further
LIVE_SECONDS = 3600  # a log outlives its last event by this, should its process die
BLOCK_MILLISECONDS = 50  # a new follower's run is read after this at the latest


@dataclass
class _Followed:
    number: int  # of the last event handed out
    followers: dict[Deliver, int] = field(default_factory=dict)  # with the number each began after


def _key(run_id: UUID) -> str:
    return f"run:{run_id}"


def _parsed(entries: Any) -> list[tuple[int, bytes, bool]]:
    """Number, frame and whether it is the end, of each entry."""
    return [(int(entry_id.split(b"-")[0]), fields.get(b"frame", b""), b"end" in fields) for entry_id, fields in entries]


class RedisLog:
    """The log of all processes; followers are this process's own."""

    size = 0  # it is in Redis

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),  # a pooled connection may be stale
            retry_on_error=[ConnectionError, TimeoutError],
        )
        self._followed: dict[UUID, _Followed] = {}
        self._reader: asyncio.Task[None] | None = None
        self._lost_at: float | None = None

    async def open(self, run_id: UUID, after: int = 0) -> None:
        """As ``MemoryLog.open``."""
        await self._add([(run_id, f"{after}-1", {"begin": ""})], LIVE_SECONDS, anew=True)

    async def append(self, batch: Iterable[Event]) -> None:
        """Append events to runs; what cannot be appended is lost to the log, and every reader sees that."""
        await self._add([(run_id, f"{number}-0", {"frame": data}) for run_id, number, data in batch], LIVE_SECONDS)

    async def end(self, run_id: UUID, number: int) -> None:
        """No more events will come after *number*; some time later they are forgotten."""
        await self._add([(run_id, f"{number}-1", {"end": ""})], KEEP_SECONDS)

    async def _add(self, entries: list[tuple[UUID, str, dict[Any, Any]]], seconds: int, anew: bool = False) -> None:
        if not entries or (self._lost_at and time.monotonic() < self._lost_at + PAUSE):
            return
        try:
            async with self._redis.pipeline() as pipeline:  # one transaction, which wakes each reader once
                for run_id, entry_id, fields in entries:
                    if anew:
                        pipeline.delete(_key(run_id))
                    pipeline.xadd(_key(run_id), fields, id=entry_id)
                    pipeline.expire(_key(run_id), seconds)
                await pipeline.execute(raise_on_error=False)
        except FAILURES as error:
            self._lose(error)
        else:
            self._lost_at = None

    def _lose(self, error: Exception) -> None:
        if self._lost_at is None:
            logger.warning("the event log is lost (%s); answers go on and are saved", type(error).__name__)
        self._lost_at = time.monotonic()

    async def follow(self, run_id: UUID, after: int, deliver: Deliver, over: bool = False) -> Callable[[], None]:
        """As ``MemoryLog.follow``, for a run of any process."""
        seen, followed = after, None
        while followed is None or followed.number > seen:  # the reader may be ahead of what was just read
            try:
                entries = _parsed(await self._redis.xrange(_key(run_id), f"{seen}-0"))
            except FAILURES as error:
                self._lose(error)
                raise LogLostError(run_id) from error
            if not entries or entries[0][0] > seen + 1 or (over and not entries[-1][2]):
                raise LogLostError(run_id)
            if frames := b"".join(frame for number, frame, _ in entries if number > seen):
                deliver(frames)
            if entries[-1][2]:
                deliver(None)
                return lambda: None
            seen = entries[-1][0]
            followed = self._followed.setdefault(run_id, _Followed(seen))
        followed.followers[deliver] = seen
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())

        def unfollow() -> None:
            followed.followers.pop(deliver, None)
            if not followed.followers and self._followed.get(run_id) is followed:
                del self._followed[run_id]

        return unfollow

    def followed(self) -> list[UUID]:
        """The runs that someone follows here."""
        return list(self._followed)

    def drop(self, run_id: UUID) -> None:
        """Ask the followers of a run to reconnect: what this log would tell them is not all."""
        if followed := self._followed.pop(run_id, None):
            dismiss(followed.followers)

    async def release(self) -> None:
        """Ask every follower to reconnect, elsewhere; the runs go on."""
        for run_id in self.followed():
            self.drop(run_id)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _read(self) -> None:
        while self._followed:
            positions: dict[Any, Any] = {_key(run_id): f"{run.number}-0" for run_id, run in self._followed.items()}
            try:
                found = await self._redis.xread(positions, block=BLOCK_MILLISECONDS)
            except FAILURES as error:
                self._lose(error)
                await self.release()
                return
            for key, entries in found:
                run_id = UUID(key.decode().partition(":")[2])
                if followed := self._followed.get(run_id):
                    self._hand_out(run_id, followed, _parsed(entries))

    def _hand_out(self, run_id: UUID, followed: _Followed, entries: list[tuple[int, bytes, bool]]) -> None:
        for number, frame, end in entries:
            if number > followed.number + 1:
                self.drop(run_id)
                return
            followed.number = number
            for deliver, began in followed.followers.items():
                if frame and number > began:
                    deliver(frame)
                if end:
                    deliver(None)
            if end:
                self._followed.pop(run_id, None)
