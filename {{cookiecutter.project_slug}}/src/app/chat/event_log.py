"""The numbered events of each run, appended before anyone sees them, so that any stream can resume after any number.

A log lives on the loop thread (``loop.py``); none of its methods may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

# What a follower gets: frames ready to send, or None when its stream is over.
Deliver = Callable[[bytes | None], None]
RECONNECT = b"event: reconnect\ndata: {}\n\n"
KEEP_SECONDS = 60  # a finished run's events; after that its row tells all


def frame(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; JSON keeps newlines in the data from ending the frame."""
    return (
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
    )


class LogLostError(Exception):
    """The log of this run is not here, or does not reach back to the number asked for."""


@dataclass
class _RunLog:
    frames: list[bytes] = field(default_factory=list)  # the event numbered N stands at N - 1
    followers: list[Deliver] = field(default_factory=list)
    ended: bool = False


class MemoryLog:
    """The log of a single process."""

    def __init__(self) -> None:
        self._runs: dict[UUID, _RunLog] = {}

    async def open(self, run_id: UUID) -> None:
        self._runs[run_id] = _RunLog()

    async def append(self, batch: Iterable[tuple[UUID, bytes]]) -> None:
        """Append frames to runs and hand them to their followers; a run whose log is lost has none."""
        for run_id, data in batch:
            log = self._runs.get(run_id)
            if log is None:
                continue
            log.frames.append(data)
            for deliver in log.followers:
                deliver(data)

    async def end(self, run_id: UUID) -> None:
        """No more events will come; streams end, and some time later the events are forgotten."""
        log = self._runs.get(run_id)
        if log is None:
            return
        log.ended = True
        for deliver in log.followers:
            deliver(None)
        log.followers.clear()
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._runs.pop, run_id, None)

    async def follow(self, run_id: UUID, after: int, deliver: Deliver) -> Callable[[], None]:
        """Hand *deliver* the events after number *after*, then each new one, in order.

        Returns:
            A function that ends the following; it may be called again.

        Raises:
            LogLostError: when only the run's row can tell how the answer looks.
        """
        log = self._runs.get(run_id)
        if log is None or after > len(log.frames):
            raise LogLostError(run_id)
        if after < len(log.frames):
            deliver(b"".join(log.frames[after:]))
        if log.ended:
            deliver(None)
            return lambda: None
        log.followers.append(deliver)

        def unfollow() -> None:
            if deliver in log.followers:
                log.followers.remove(deliver)

        return unfollow

    async def release(self) -> None:
        """Ask every follower to reconnect, elsewhere; the runs go on."""
        for log in self._runs.values():
            for deliver in log.followers:
                deliver(RECONNECT)
                deliver(None)
            log.followers.clear()
