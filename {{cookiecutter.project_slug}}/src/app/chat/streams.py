"""Server-sent events from the log to clients, and the caps on how many may listen.

A stream begins as an ordinary Flask response, with every check, limit and header. When gunicorn has sent those, the
loop thread takes the connection over: an open stream costs a socket but no thread, and an event costs one write. Other
servers, and tests, read the same stream in their own thread.
"""

import asyncio
import errno
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, cast
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.chat import event_log, loop, runs
from app.chat.models import Run, RunStatus
from app.chat.runner import Runner
from app.errors import Problem

HEARTBEAT_SECONDS = 15
WATCH_SECONDS = 3
HEARTBEAT = b": still here\n\n"
OPENING = b"retry: 700\n\n"  # milliseconds until a browser whose connection breaks tries again
MOST_UNREAD = 2_000_000  # bytes; a client that does not read is disconnected, and may resume


class _Stream:
    """A WSGI response body, read by the server's own thread, which sleeps between events. The server calls ``close``
    however it ends, even if it never began."""

    def __init__(self, runner: Runner, on_close: Callable[[], None]):
        self._runner, self._on_close = runner, on_close
        self._inbox: SimpleQueue[bytes | None] = SimpleQueue()
        self.unfollow: Callable[[], None] = lambda: None

    def deliver(self, frames: bytes | None) -> None:
        """Called on the loop thread with events ready to send, or None at the end."""
        self._inbox.put(frames)

    def __iter__(self) -> Iterator[bytes]:
        yield OPENING
        while True:
            try:
                frames = self._inbox.get(timeout=HEARTBEAT_SECONDS)
            except Empty:
                frames = HEARTBEAT
            if frames is None:
                return
            yield frames

    def close(self) -> None:
        self._runner.loop.call(self.unfollow)
        on_close, self._on_close = self._on_close, lambda: None
        on_close()


class _LoopStream(_Stream, asyncio.Protocol):
    """Taken over by the loop thread, once gunicorn has sent the headers with the first chunk."""

    def __init__(self, runner: Runner, connection: socket.socket, on_close: Callable[[], None]):
        super().__init__(runner, on_close)
        self._connection, self._taken = connection, False
        self._transport: asyncio.Transport | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield OPENING
        own = socket.socket(fileno=self._connection.detach())
        self._taken = True
        self._runner.loop.submit(self._take(own))
        # What gunicorn expects of a connection that is no longer there: it forgets it without a word.
        raise BrokenPipeError(errno.EPIPE, "taken over by the loop thread")

    def close(self) -> None:
        if not self._taken:
            super().close()

    def deliver(self, frames: bytes | None) -> None:
        transport = self._transport
        if transport is None:
            super().deliver(frames)
        elif frames is None:
            transport.write(b"0\r\n\r\n")
            transport.close()
        elif transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
        else:
            transport.write(b"%x\r\n%b\r\n" % (len(frames), frames))

    async def _take(self, own: socket.socket) -> None:
        own.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, own)
        except OSError:  # the client has gone
            super().close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        while not self._inbox.empty():
            self.deliver(self._inbox.get())
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self.deliver(HEARTBEAT)
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        super().close()


class Streams:
    """The open streams of one process."""

    def __init__(self, runner: Runner, most: int, most_per_user: int):
        self.runner, self.most, self.most_per_user = runner, most, most_per_user
        self.open: Counter[UUID] = Counter()
        self._lock = threading.Lock()
        self._watcher: asyncio.Task[None] | None = None

    def follow(self, user_id: UUID, run: Run, after: int, environ: dict[str, Any]) -> _Stream:
        """A response body with the events of *run* after number *after*, until the run ends or the client leaves.

        Raises:
            LogLostError: when the log does not have them.
            Problem: 429 or 503 when too many streams are open already.
        """
        self._enter(user_id)
        connection = environ.get("gunicorn.socket")
        # A TLS socket keeps state that detaching would lose, and HTTP/1.0 knows no chunks.
        if type(connection) is socket.socket and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            stream: _Stream = _LoopStream(self.runner, connection, lambda: self._leave(user_id))
        else:
            stream = _Stream(self.runner, lambda: self._leave(user_id))
        try:
            over = run.status != RunStatus.RUNNING and run.id not in self.runner.live  # else its last event is to come
            stream.unfollow = self.runner.loop.submit(self._follow(run.id, after, stream.deliver, over)).result()
        except BaseException:
            stream.close()
            raise
        return stream

    async def _follow(self, run_id: UUID, after: int, deliver: event_log.Deliver, over: bool) -> Callable[[], None]:
        unfollow = await self.runner.log.follow(run_id, after, deliver, over)
        if self._watcher is None or self._watcher.done():
            self._watcher = loop.detached(self._watch())
        return unfollow

    async def _watch(self) -> None:
        """Streams of a run whose process died, or whose end the log has lost, are asked to reconnect: they learn how it
        ended from its row."""
        log, live = self.runner.log, self.runner.live
        while log.followed():
            await asyncio.sleep(WATCH_SECONDS)
            if not (elsewhere := [run_id for run_id in log.followed() if run_id not in live]):
                continue
            try:
                over = await asyncio.to_thread(runs.over, self.runner.app, elsewhere)
            except SQLAlchemyError as error:
                self.runner.app.logger.warning("runs could not be watched: %s", type(error).__name__)
                continue
            for run_id in over:
                log.drop(run_id)

    def _enter(self, user_id: UUID) -> None:
        with self._lock:
            if self.open[user_id] >= self.most_per_user:
                raise Problem(429, "too-many-streams", "You have too many chats open at once; close a tab.", 5)
            if self.open.total() >= self.most or self.runner.draining:
                raise Problem(503, "busy", "Too many streams are open here; please try again in a moment.", 5)
            self.open[user_id] += 1

    def _leave(self, user_id: UUID) -> None:
        with self._lock:
            self.open[user_id] -= 1
            self.open += Counter()  # forget who has none
