"""Server-sent events from the log to clients, and limits on the number of streams.

A stream starts as an ordinary Flask response, with all checks, limits and headers. Once
gunicorn has sent the headers, the loop thread takes the connection over. An open stream
then costs a socket but no thread, and an event costs one write. Other servers, and
tests, read the same stream in their own thread.
"""

import asyncio
import errno
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.chat.loop import LoopThread, detached
from app.chat.models import Run, RunStatus
from app.chat.streams.event_log import EventLog, Follower, Unfollow, nothing_to_end
from app.errors import Problem
from app.state import AppKey

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger(__name__)

# A silent stream sends a comment this often, so that proxies keep its connection open.
HEARTBEAT_SECONDS = 15
HEARTBEAT = b": still here\n\n"
# How often followed runs of other processes are looked up in the database.
WATCH_SECONDS = 3
# Milliseconds until a browser whose connection broke tries again.
OPENING = b"retry: 700\n\n"
# A client that leaves more bytes than this unread is disconnected. It may resume.
MOST_UNREAD = 2_000_000
RETRY_AFTER_SECONDS = 5
# The end of a chunked response.
LAST_CHUNK = b"0\r\n\r\n"


class RunSource(Protocol):
    """What streams need to know about runs. The runner implements it."""

    @property
    def loop(self) -> LoopThread:
        """The thread that runs the event log."""

    @property
    def log(self) -> EventLog:
        """The log that streams follow."""

    @property
    def draining(self) -> bool:
        """Whether this process is about to stop."""

    def works_on(self, run_id: UUID) -> bool:
        """Return whether this process works on a run. Any thread may ask."""

    def runs_that_ended(self, run_ids: Sequence[UUID]) -> list[UUID]:
        """Return those of some runs that have ended, or whose process has died.

        It is called in a worker thread.

        Raises:
            SQLAlchemyError: if the database cannot be asked.
        """


class Slot:
    """The right to keep one stream open. It is released once, however that ends."""

    def __init__(self, on_release: Callable[[], None]) -> None:
        self._on_release = on_release
        self._lock = threading.Lock()
        self._is_released = False

    def release(self) -> None:
        """Let another stream open. Later calls do nothing. Any thread may call it."""
        with self._lock:
            if self._is_released:
                return
            self._is_released = True
        self._on_release()


class Stream:
    """The body of a response with events, read by a thread of the server.

    The thread sleeps between events. The server calls `close` however the response
    ends, even if it never started.
    """

    def __init__(self, loop: LoopThread, slot: Slot) -> None:
        self._loop = loop
        self._slot = slot
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()
        self.unfollow: Unfollow = nothing_to_end

    def deliver(self, frames: bytes | None) -> None:
        """Take frames that are ready to send, or None at the end.

        The loop thread calls it.
        """
        self._frames.put(frames)

    def __iter__(self) -> Iterator[bytes]:
        yield OPENING
        while True:
            try:
                frames = self._frames.get(timeout=HEARTBEAT_SECONDS)
            except Empty:
                frames = HEARTBEAT
            if frames is None:
                return
            yield frames

    def close(self) -> None:
        """End the response."""
        self._leave()

    def _leave(self) -> None:
        self._loop.call(self.unfollow)
        self._slot.release()


class LoopStream(Stream, asyncio.Protocol):
    """A stream whose connection the loop thread takes over.

    It does so when gunicorn has sent the headers together with the first chunk.
    """

    def __init__(
        self,
        loop: LoopThread,
        slot: Slot,
        connection: socket.socket,
    ) -> None:
        super().__init__(loop, slot)
        self._connection = connection
        self._is_taken_over = False
        self._transport: asyncio.Transport | None = None
        self._heartbeat: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield OPENING
        taken_over = socket.socket(fileno=self._connection.detach())
        self._is_taken_over = True
        self._loop.submit(self._serve(taken_over))
        # What gunicorn expects of a client that has gone: it forgets the connection and
        # logs nothing.
        raise BrokenPipeError(errno.EPIPE, "taken over by the loop thread")

    def close(self) -> None:
        """End the response, unless the loop thread has taken it over."""
        if not self._is_taken_over:
            self._leave()

    def deliver(self, frames: bytes | None) -> None:
        """Send frames, or the end for None, once the connection has been taken over."""
        transport = self._transport
        if transport is None:
            super().deliver(frames)
        elif transport.is_closing():
            return
        elif frames is None:
            transport.write(LAST_CHUNK)
            transport.close()
        elif transport.get_write_buffer_size() > MOST_UNREAD:
            transport.abort()
        else:
            transport.write(b"%x\r\n%b\r\n" % (len(frames), frames))

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: self, connection)
        except OSError:  # the client has gone
            self._leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what was delivered before the connection was taken over."""
        self._transport = cast("asyncio.Transport", transport)
        while not self._frames.empty():
            self.deliver(self._frames.get())
        self._schedule_heartbeat()

    def connection_lost(self, error: Exception | None) -> None:
        """End the following, whichever side has closed the connection."""
        if self._heartbeat:
            self._heartbeat.cancel()
        self._leave()

    def _schedule_heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        self._heartbeat = loop.call_later(HEARTBEAT_SECONDS, self._send_heartbeat)

    def _send_heartbeat(self) -> None:
        self.deliver(HEARTBEAT)
        self._schedule_heartbeat()


def _connection_to_take_over(environ: "WSGIEnvironment") -> socket.socket | None:
    """Return the connection of a request, if the loop thread can take it over."""
    connection = environ.get("gunicorn.socket")
    # A TLS socket has state that detaching would lose.
    if type(connection) is not socket.socket:
        return None
    # HTTP/1.0 has no chunks.
    if environ["SERVER_PROTOCOL"] != "HTTP/1.1":
        return None
    return connection


class Streams:
    """The open streams of one process, and the limits on their number."""

    def __init__(self, source: RunSource, most: int, most_per_user: int) -> None:
        self._source = source
        self._most = most
        self._most_per_user = most_per_user
        self.open: Counter[UUID] = Counter()  # of each user
        self._lock = threading.Lock()
        self._watcher: asyncio.Task[None] | None = None

    def take_slot(self, user_id: UUID) -> Slot:
        """Take a slot for a stream of a user.

        The caller releases it, unless `follow_in` takes it over.

        Raises:
            Problem: 429 or 503 if too many streams are open, 503 during a drain.
        """
        with self._lock:
            if self.open[user_id] >= self._most_per_user:
                raise Problem(
                    429,
                    "too-many-streams",
                    "You have too many chats open at once; close a tab.",
                    retry_after=RETRY_AFTER_SECONDS,
                )
            if self.open.total() >= self._most or self._source.draining:
                raise Problem(
                    503,
                    "busy",
                    "Too many streams are open here; please try again in a moment.",
                    retry_after=RETRY_AFTER_SECONDS,
                )
            self.open[user_id] += 1
        return Slot(lambda: self._leave(user_id))

    def follow(
        self,
        user_id: UUID,
        run: Run,
        after: int,
        environ: "WSGIEnvironment",
    ) -> Stream:
        """Take a slot and follow a run in it, see `take_slot` and `follow_in`."""
        slot = self.take_slot(user_id)
        return self.follow_in(slot, run, after, environ)

    def follow_in(
        self,
        slot: Slot,
        run: Run,
        after: int,
        environ: "WSGIEnvironment",
    ) -> Stream:
        """Return a response body with the events of a run after number *after*.

        It ends with the run, or when the client leaves. From now on the stream releases
        the slot, also if this method fails.

        Raises:
            LogLostError: if the log does not have these events.
        """
        source = self._source
        try:
            stream = self._new_stream(slot, environ)
            # While this process works on a run, its last event is yet to come.
            has_ended = run.status != RunStatus.RUNNING and not source.works_on(run.id)
            following = self._follow(run.id, after, stream.deliver, has_ended)
            stream.unfollow = source.loop.submit(following).result()
        except BaseException:
            slot.release()
            raise
        return stream

    def _new_stream(self, slot: Slot, environ: "WSGIEnvironment") -> Stream:
        connection = _connection_to_take_over(environ)
        if connection is None:
            return Stream(self._source.loop, slot)
        return LoopStream(self._source.loop, slot, connection)

    async def _follow(
        self,
        run_id: UUID,
        after: int,
        follower: Follower,
        run_has_ended: bool,
    ) -> Unfollow:
        log = self._source.log
        unfollow = await log.follow(run_id, after, follower, run_has_ended)
        if self._watcher is None or self._watcher.done():
            self._watcher = detached(self._watch())
        return unfollow

    async def _watch(self) -> None:
        """Ask clients to reconnect whose run ended without an end in the log.

        Its process died, or the log has lost the end. The saved run tells how it ended.
        """
        source = self._source
        log = source.log
        while log.followed_runs():
            await asyncio.sleep(WATCH_SECONDS)
            followed = log.followed_runs()
            elsewhere = [run_id for run_id in followed if not source.works_on(run_id)]
            if not elsewhere:
                continue
            try:
                ended = await asyncio.to_thread(source.runs_that_ended, elsewhere)
            except SQLAlchemyError as error:
                name = type(error).__name__
                logger.warning("followed runs could not be looked up: %s", name)
                continue
            for run_id in ended:
                log.reconnect(run_id)

    def _leave(self, user_id: UUID) -> None:
        with self._lock:
            self.open[user_id] -= 1
            if not self.open[user_id]:
                del self.open[user_id]


STREAMS: AppKey[Streams] = AppKey("streams")
