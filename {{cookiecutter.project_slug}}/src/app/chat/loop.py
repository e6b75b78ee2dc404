"""One asyncio loop in one thread of each process: every agent call and every event log runs on it.

Provider clients are bound to the loop that opened their connections, so a loop per request would hang or fail.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")
MOST_LAG = 5  # seconds; who measures waits no longer


def detached(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin work that serves many runs; it belongs to no trace, least of all to that of the first of them."""
    return asyncio.create_task(work, context=Context())


class LoopThread:
    """Starts at the first use in each process, so that it also survives a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run *work* on the loop, in a copy of the caller's context, so that its spans belong to the caller's trace."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* on the loop soon, without waiting for it."""
        self._running().call_soon_threadsafe(function)

    def lag(self) -> float | None:
        """How long the loop takes to begin with something new, in seconds; None before its first work."""
        if self._pid != os.getpid():
            return None
        began = time.monotonic()
        with suppress(TimeoutError):
            self.submit(asyncio.sleep(0)).result(MOST_LAG)
        return time.monotonic() - began

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._pid != os.getpid():
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="agent-loop", daemon=True).start()
                self._pid = os.getpid()
        return self._loop
