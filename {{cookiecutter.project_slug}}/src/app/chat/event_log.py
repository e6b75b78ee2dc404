"""The numbered events of each run, appended before anyone sees them, so that any stream can resume after any number.

A log lives on the loop thread (``loop.py``); none of its methods may be called from elsewhere. Over Redis it is a
stream for each run, read by one task of each process: the event numbered N has the id ``N-0``; after it ``N-1`` marks a
beginning and ``N-2`` the end, so a stream that was flushed or lost an event shows it. While Redis is lost, runs go on
without a log; those who follow them read the saved answer.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from redis import RedisError, backoff
from redis.asyncio import Redis, retry

from app.chat.loop import detached

# What a follower gets: frames ready to send, or None when its stream is over.
Deliver = Callable[[bytes | None], None]
Event = tuple[UUID, int, bytes]  # run, number, frame
RECONNECT = b"event: reconnect\ndata: {}\n\n"
ASK_AGAIN = b'event: reconnect\ndata: {"seconds": 2}\n\n'  # after a whole answer, while there is no log
KEEP_SECONDS = 60  # a finished run's events; after that its row tells all


def frame(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; JSON keeps newlines in the data from ending the frame."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {number}\nevent: {kind}\ndata: {text}\n\n".encode()


class LogLostError(Exception):
    """The log of this run is not here, or does not reach back to the number asked for."""


@dataclass
class _Run:
    before: int  # the number of the last event that is not here
    frames: list[bytes] = field(default_factory=list)  # the event numbered N stands at N - before - 1
    ended: bool = False


class EventLog:
    """The log of a single process; ``RedisLog`` is that of many."""

    def __init__(self) -> None:
        self._runs: dict[UUID, _Run] = {}
        self._followers: dict[UUID, dict[Deliver, int]] = {}  # with the number each began after

    @property
    def size(self) -> int:
        """Bytes that all events take in this process; may be asked from any thread."""
        return sum(len(frame) for run in list(self._runs.values()) for frame in run.frames)

    async def open(self, run_id: UUID, after: int = 0) -> None:
        """Begin the log of a run; one that goes on after an approval has had *after* events before."""
        self._runs[run_id] = _Run(after)

    async def append(self, batch: Iterable[Event]) -> None:
        """Append events to runs and hand them to their followers; a run whose log is lost has none."""
        for run_id, number, data in batch:
            if run := self._runs.get(run_id):
                run.frames.append(data)
                self._hand_out(run_id, number, data)

    async def end(self, run_id: UUID, number: int) -> None:
        """No more events will come after *number*; streams end, and some time later the events are forgotten."""
        if run := self._runs.get(run_id):
            run.ended = True
            self._hand_out(run_id, number + 1, None)
            asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, run_id, run)

    def _forget(self, run_id: UUID, run: _Run) -> None:
        if self._runs.get(run_id) is run:  # it may have been opened again
            del self._runs[run_id]

    async def follow(self, run_id: UUID, after: int, deliver: Deliver, over: bool = False) -> Callable[[], None]:
        """Hand *deliver* the events after number *after*, then each new one, in order; *over*: the run has ended.

        Returns:
            A function that ends the following; it may be called again.

        Raises:
            LogLostError: when only the run's row can tell how the answer looks.
        """
        run = self._runs.get(run_id)
        if run is None or not run.before <= after <= run.before + len(run.frames) or (over and not run.ended):
            raise LogLostError(run_id)
        if missed := run.frames[after - run.before :]:
            deliver(b"".join(missed))
        if run.ended:
            deliver(None)
            return lambda: None
        return self._join(run_id, deliver, run.before + len(run.frames))

    def _join(self, run_id: UUID, deliver: Deliver, number: int) -> Callable[[], None]:
        mine = self._followers.setdefault(run_id, {})
        mine[deliver] = number

        def leave() -> None:
            mine.pop(deliver, None)
            if not mine and self._followers.get(run_id) is mine:
                del self._followers[run_id]

        return leave

    def _hand_out(self, run_id: UUID, number: int, data: bytes | None) -> None:
        for deliver, began in self._followers.get(run_id, {}).items():
            if number > began:
                deliver(data)
        if data is None:
            self._followers.pop(run_id, None)

    def followed(self) -> list[UUID]:
        """The runs that someone follows here."""
        return list(self._followers)

    def drop(self, run_id: UUID) -> None:
        """Ask the followers of a run to reconnect: what this log would tell them is not all."""
        for deliver in self._followers.pop(run_id, ()):
            deliver(RECONNECT)
            deliver(None)

    async def release(self) -> None:
        """Ask every follower to reconnect, elsewhere; the runs go on."""
        for run_id in self.followed():
            self.drop(run_id)

    async def close(self) -> None:
        """Let go of what is held open."""


logger = logging.getLogger(__name__)
FAILURES = (RedisError, OSError)
TIMEOUT = 1.0  # seconds
PAUSE = 1.0  # seconds without a try after a failure, so that a silent Redis delays the saving of answers no further
LIVE_SECONDS = 3600  # a log outlives its last events by this, should its process die
BLOCK_MILLISECONDS = 50  # a new follower's run is read after this at the latest


def _key(run_id: UUID) -> str:
    return f"run:{run_id}"


def _parsed(entries: Any) -> list[tuple[int, bytes, bool]]:
    """Number, frame and whether it is the end, of each entry."""
    return [(int(entry_id.split(b"-")[0]), fields.get(b"frame", b""), b"end" in fields) for entry_id, fields in entries]


class RedisLog(EventLog):
    """The log of all processes; followers are this process's own, and the events themselves are in Redis."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # A connection that has been idle may be stale.
        again: Any = {"retry": retry.Retry(backoff.NoBackoff(), 1), "retry_on_error": [ConnectionError, TimeoutError]}
        self._redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, **again)
        self._numbers: dict[UUID, int] = {}  # of the last event handed out
        self._reader: asyncio.Task[None] | None = None
        self._lost_at: float | None = None

    async def open(self, run_id: UUID, after: int = 0) -> None:
        await self._add([(run_id, f"{after}-1", {"begin": ""})], LIVE_SECONDS, anew=True)

    async def append(self, batch: Iterable[Event]) -> None:
        """Append events to runs; what cannot be appended is lost to the log, and every reader sees that."""
        await self._add([(run_id, f"{number}-0", {"frame": data}) for run_id, number, data in batch], LIVE_SECONDS)

    async def end(self, run_id: UUID, number: int) -> None:
        await self._add([(run_id, f"{number}-2", {"end": ""})], KEEP_SECONDS)

    async def _add(self, entries: list[tuple[UUID, str, dict[Any, Any]]], seconds: int, anew: bool = False) -> None:
        if not entries or (self._lost_at and time.monotonic() < self._lost_at + PAUSE):
            return
        try:
            async with self._redis.pipeline() as pipeline:  # one transaction, which wakes each reader once
                for run_id, entry_id, fields in entries:
                    if anew:
                        pipeline.delete(_key(run_id))
                    pipeline.xadd(_key(run_id), fields, id=entry_id)
                    if "frame" not in fields or entry_id.endswith("0-0"):  # every tenth is often enough
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
        seen = after
        while True:
            try:
                entries = _parsed(await self._redis.xrange(_key(run_id), f"{seen}-0"))
            except FAILURES as error:
                self._lose(error)
                raise LogLostError(run_id) from error
            numbers = [seen, *(number for number, _, _ in entries)]
            gap = any(later > number + 1 for number, later in pairwise(numbers))  # an append that was lost
            if not entries or gap or (over and not entries[-1][2]):
                raise LogLostError(run_id)
            if frames := b"".join(frame for number, frame, _ in entries if number > seen):
                deliver(frames)
            if entries[-1][2]:
                deliver(None)
                return lambda: None
            seen = entries[-1][0]
            if run_id not in self._followers:
                self._numbers[run_id] = seen
            if self._numbers[run_id] <= seen:  # else the reader is ahead of what was just read
                break
        if self._reader is None or self._reader.done():
            self._reader = detached(self._read())
        return self._join(run_id, deliver, seen)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _read(self) -> None:
        while self._followers:
            self._numbers = {run_id: self._numbers[run_id] for run_id in self._followers}
            positions: dict[Any, Any] = {_key(run_id): f"{number}-1" for run_id, number in self._numbers.items()}
            try:
                found = await self._redis.xread(positions, block=BLOCK_MILLISECONDS)
            except FAILURES as error:
                self._lose(error)
                await self.release()
                return
            for key, entries in found:
                self._take(UUID(key.decode().partition(":")[2]), _parsed(entries))

    def _take(self, run_id: UUID, entries: list[tuple[int, bytes, bool]]) -> None:
        for number, frame, end in entries:
            if run_id in self._followers and number > self._numbers[run_id] + 1:
                self.drop(run_id)
            self._numbers[run_id] = number
            self._hand_out(run_id, number + end, None if end else frame)
