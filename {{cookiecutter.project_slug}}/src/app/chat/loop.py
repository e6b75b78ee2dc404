"""The loop thread: one asyncio loop in one thread of each process.

All agent calls and all event logs run on it. Provider clients are bound to the loop
that opened their connections, so with a loop per request they would hang or fail.
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
LONGEST_MEASURED_LAG = 5  # seconds; the metrics export that asks waits no longer


def detached(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start work that serves many runs.

    It runs in an empty context. Otherwise its spans would belong to the trace of the
    request that happened to start it.
    """
    return asyncio.create_task(work, context=Context())


class LoopThread:
    """The loop and its thread.

    They start at the first use in each process, so they also work after a fork.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process_id = 0  # of the process in which the loop was started
        self._loop: asyncio.AbstractEventLoop

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run *work* on the loop.

        It runs in a copy of the caller's context, so its spans belong to the caller's
        trace.
        """
        return asyncio.run_coroutine_threadsafe(work, self._started_loop())

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* on the loop soon, without waiting for it."""
        self._started_loop().call_soon_threadsafe(function)

    def lag(self) -> float | None:
        """Return how long the loop takes to start new work, in seconds.

        The result is None before the first work in this process.
        """
        if self._process_id != os.getpid():
            return None
        submitted_at = time.monotonic()
        with suppress(TimeoutError):
            self.submit(asyncio.sleep(0)).result(LONGEST_MEASURED_LAG)
        return time.monotonic() - submitted_at

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._process_id != os.getpid():
                self._start()
        return self._loop

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=self._loop.run_forever,
            name="agent-loop",
            daemon=True,
        )
        thread.start()
        self._process_id = os.getpid()
