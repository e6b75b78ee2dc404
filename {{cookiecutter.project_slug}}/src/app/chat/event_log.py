"""The numbered events of each run, appended before anyone sees them, so that any stream can resume after any number.

A log lives on the loop thread (``loop.py``); none of its methods may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

# What a follower gets: frames ready to send, or None when its stream is over.
Deliver = Callable[[bytes | None], None]
Event = tuple[UUID, int, bytes]  # run, number, frame
RECONNECT = b"event: reconnect\ndata: {}\n\n"
ASK_AGAIN = b'event: reconnect\ndata: {"seconds": 2}\n\n'  # after a whole answer, while there is no log
KEEP_SECONDS = 60  # a finished run's events; after that its row tells all


def frame(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; JSON keeps newlines in the data from ending the frame."""
    return (
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
    )


def dismiss(followers: Iterable[Deliver]) -> None:
    """Ask followers to reconnect, and end their streams."""
    for deliver in followers:
        deliver(RECONNECT)
        deliver(None)


class LogLostError(Exception):
    """The log of this run is not here, or does not reach back to the number asked for."""


@dataclass
class _RunLog:
    before: int  # the number of the last event that is not here
    frames: list[bytes] = field(default_factory=list)  # the event numbered N stands at N - before - 1
    followers: list[Deliver] = field(default_factory=list)
    ended: bool = False


class EventLog(Protocol):
    """What ``MemoryLog`` does, for one process or for all."""

    @property
    def size(self) -> int:
        """Bytes that the log takes in this process."""

    async def open(self, run_id: UUID, after: int = 0) -> None: ...
    async def append(self, batch: Iterable[Event]) -> None: ...
    async def end(self, run_id: UUID, number: int) -> None: ...
    async def follow(self, run_id: UUID, after: int, deliver: Deliver, over: bool) -> Callable[[], None]: ...
    def followed(self) -> list[UUID]: ...
    def drop(self, run_id: UUID) -> None: ...
    async def release(self) -> None: ...
    async def close(self) -> None: ...


class MemoryLog:
    """The log of a single process."""

    def __init__(self) -> None:
        self._runs: dict[UUID, _RunLog] = {}

    @property
    def size(self) -> int:
        """Bytes of all events that are kept; may be asked from any thread."""
        return sum(len(frame) for log in list(self._runs.values()) for frame in log.frames)

    async def open(self, run_id: UUID, after: int = 0) -> None:
        """Begin the log of a run; one that goes on after an approval has had *after* events before."""
        self._runs[run_id] = _RunLog(after)

    async def append(self, batch: Iterable[Event]) -> None:
        """Append events to runs and hand them to their followers; a run whose log is lost has none."""
        for run_id, _, data in batch:
            log = self._runs.get(run_id)
            if log is None:
                continue
            log.frames.append(data)
            for deliver in log.followers:
                deliver(data)

    async def end(self, run_id: UUID, number: int) -> None:
        """No more events will come after *number*; streams end, and some time later the events are forgotten."""
        log = self._runs.get(run_id)
        if log is None:
            return
        log.ended = True
        for deliver in log.followers:
            deliver(None)
        log.followers.clear()
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, run_id, log)

    def _forget(self, run_id: UUID, log: _RunLog) -> None:
        if self._runs.get(run_id) is log:  # it may have been opened again
            del self._runs[run_id]

    async def follow(self, run_id: UUID, after: int, deliver: Deliver, over: bool = False) -> Callable[[], None]:
        """Hand *deliver* the events after number *after*, then each new one, in order; *over*: the run has ended.

        Returns:
            A function that ends the following; it may be called again.

        Raises:
            LogLostError: when only the run's row can tell how the answer looks.
        """
        log = self._runs.get(run_id)
        if log is None or not log.before <= after <= log.before + len(log.frames) or (over and not log.ended):
            raise LogLostError(run_id)
        if missed := log.frames[after - log.before :]:
            deliver(b"".join(missed))
        if log.ended:
            deliver(None)
            return lambda: None
        log.followers.append(deliver)

        def unfollow() -> None:
            if deliver in log.followers:
                log.followers.remove(deliver)

        return unfollow

    def followed(self) -> list[UUID]:
        """The runs that someone follows here."""
        return [run_id for run_id, log in self._runs.items() if log.followers]

    def drop(self, run_id: UUID) -> None:
        """Ask the followers of a run to reconnect."""
        followers, self._runs[run_id].followers = self._runs[run_id].followers, []
        dismiss(followers)

    async def release(self) -> None:
        """Ask every follower to reconnect, elsewhere; the runs go on."""
        for run_id in self.followed():
            self.drop(run_id)

    async def close(self) -> None:
        """Nothing is held open."""


def shared(redis_url: str) -> EventLog:
    """The log of all processes that use this Redis."""
    from app.chat.redis_log import RedisLog

    return RedisLog(redis_url)
