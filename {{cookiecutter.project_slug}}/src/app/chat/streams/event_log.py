"""The numbered events of each run, and who follows them in this process.

An event is appended before anyone sees it, so any stream can resume after any number.

A log belongs to the loop thread (`chat/loop.py`): call its methods there only, except
where a method says otherwise.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias
from uuid import UUID

# Receives frames that are ready to send, or None when its stream is over.
Follower: TypeAlias = Callable[[bytes | None], None]
# Ends the following. Later calls do nothing.
Unfollow: TypeAlias = Callable[[], None]

RECONNECT = b"event: reconnect\ndata: {}\n\n"
# Sent after a whole answer while there is no log: the page asks for it again.
ASK_AGAIN = b'event: reconnect\ndata: {"seconds": 2}\n\n'
# How long a log is kept after its run has ended. Later the saved run has everything.
KEEP_SECONDS = 60


class Event(NamedTuple):
    """One event of a run, as clients receive it."""

    run_id: UUID
    number: int
    frame: bytes


def frame(number: int, kind: str, data: Mapping[str, object]) -> bytes:
    """Return one server-sent event.

    The data is JSON, which escapes newlines: one in a text could end the frame.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {number}\nevent: {kind}\ndata: {text}\n\n".encode()


class LogLostError(Exception):
    """The log of a run does not exist, or does not have all events that were asked for.

    The saved run still has the answer.
    """


class Followers:
    """Who follows which run in this process."""

    def __init__(self) -> None:
        # Each follower with the number of the last event that it has received already.
        self._of_runs: dict[UUID, dict[Follower, int]] = {}

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._of_runs

    def runs(self) -> list[UUID]:
        """Return the runs that have followers."""
        return list(self._of_runs)

    def add(self, run_id: UUID, follower: Follower, after: int) -> Unfollow:
        """Hand *follower* the later events of a run, those after number *after*."""
        of_run = self._of_runs.setdefault(run_id, {})
        of_run[follower] = after

        def unfollow() -> None:
            of_run.pop(follower, None)
            # The run may have been ended, and followed again, in the meantime.
            if not of_run and self._of_runs.get(run_id) is of_run:
                del self._of_runs[run_id]

        return unfollow

    def hand_out(self, event: Event) -> None:
        """Hand an event to those who follow its run and do not have it yet."""
        for follower, received in self._of_runs.get(event.run_id, {}).items():
            if event.number > received:
                follower(event.frame)

    def end(self, run_id: UUID) -> None:
        """End the streams of a run, whose last event has been handed out."""
        for follower in self._of_runs.pop(run_id, {}):
            follower(None)

    def reconnect(self, run_id: UUID) -> None:
        """Ask those who follow a run to reconnect, and end their streams."""
        for follower in self._of_runs.pop(run_id, {}):
            follower(RECONNECT)
            follower(None)


@dataclass
class _RunEvents:
    """The events of one run."""

    before: int  # the number of the last event that is not kept here
    frames: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self.before + len(self.frames)

    def after(self, number: int) -> list[bytes]:
        """Return the frames of the events after *number*."""
        return self.frames[number - self.before :]


class EventLog:
    """The event log of a single process, in its memory.

    `RedisEventLog` is the one that several processes share.
    """

    def __init__(self) -> None:
        self._runs: dict[UUID, _RunEvents] = {}
        self._followers = Followers()

    @property
    def size(self) -> int:
        """The bytes of all events in this process. Any thread may read it."""
        # The list is a copy: the loop thread may open and forget runs meanwhile.
        runs = list(self._runs.values())
        return sum(len(each) for run in runs for each in run.frames)

    async def open(self, run_id: UUID, after: int = 0) -> None:
        """Start the log of a run.

        A run that continues after an approval already had *after* events.
        """
        self._runs[run_id] = _RunEvents(after)

    async def append(self, events: Sequence[Event]) -> None:
        """Append events, of any runs, and hand them to the followers of those runs.

        An event of a run without a log is ignored.
        """
        for event in events:
            run = self._runs.get(event.run_id)
            if run is None:
                continue
            run.frames.append(event.frame)
            self._followers.hand_out(event)

    async def end(self, run_id: UUID, number: int) -> None:
        """End the log of a run, whose last event has *number*, and its streams.

        The events are forgotten after `KEEP_SECONDS`.
        """
        run = self._runs.get(run_id)
        if run is None:
            return
        run.ended = True
        self._followers.end(run_id)
        loop = asyncio.get_running_loop()
        loop.call_later(KEEP_SECONDS, self._forget, run_id, run)

    def _forget(self, run_id: UUID, run: _RunEvents) -> None:
        if self._runs.get(run_id) is run:  # it may have been opened again
            del self._runs[run_id]

    async def follow(
        self,
        run_id: UUID,
        after: int,
        follower: Follower,
        run_has_ended: bool = False,
    ) -> Unfollow:
        """Hand *follower* the events after number *after*, then each new one, in order.

        With *run_has_ended*, the log must have the end too: no more events will come.

        Raises:
            LogLostError: if the log does not have these events.
        """
        run = self._runs.get(run_id)
        if run is None or not run.before <= after <= run.last:
            raise LogLostError(run_id)
        if run_has_ended and not run.ended:
            raise LogLostError(run_id)
        if missed := run.after(after):
            follower(b"".join(missed))
        if run.ended:
            follower(None)
            return nothing_to_end
        return self._followers.add(run_id, follower, run.last)

    def followed_runs(self) -> list[UUID]:
        """Return the runs that have followers in this process."""
        return self._followers.runs()

    def reconnect(self, run_id: UUID) -> None:
        """Ask those who follow a run to reconnect: this log does not have all of it."""
        self._followers.reconnect(run_id)

    async def release(self) -> None:
        """Ask all followers to reconnect, to another process. The runs continue."""
        for run_id in self.followed_runs():
            self.reconnect(run_id)

    async def close(self) -> None:
        """Close the connections of this log. The log in memory has none."""


def nothing_to_end() -> None:
    """The `Unfollow` of a stream that is already over."""
