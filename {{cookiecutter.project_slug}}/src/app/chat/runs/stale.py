"""Heartbeats of runs, and closing runs whose process has ended.

A run whose process lives is never closed: a process of this host is asked for, any
other is judged by its heartbeats, by the clock of the database. Heartbeats depend
neither on saving answers nor on the loop thread.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum, auto
from functools import lru_cache
from pathlib import Path
from uuid import UUID, uuid4

from flask import Flask
from sqlalchemy import exc, orm, select, update

from app.chat.models import Run, RunStatus
from app.chat.runs import state
from app.database import database_clock, reading, transaction

HEARTBEAT_SECONDS = 5.0
STALE_AFTER = timedelta(seconds=20)  # without a heartbeat
HOST = socket.gethostname()


class Owner(Enum):
    """What is known of the process that works on a run."""

    ALIVE = auto()
    ENDED = auto()
    UNKNOWN = auto()  # on another host, or where processes cannot be asked for


def this_worker() -> str:
    """The name of this process: host, process id, and what tells it from a later
    one.
    """
    return _worker_of(os.getpid())


@lru_cache(maxsize=1)
def _worker_of(process_id: int) -> str:
    return f"{HOST}/{process_id}/{_start_of(process_id) or uuid4().hex[:8]}"


def _start_of(process_id: int) -> str:
    """When a process started, in clock ticks since boot; empty if it has ended or where
    there is no /proc. A zombie has ended."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text("utf-8")
    except OSError:
        return ""
    fields = status.rpartition(")")[2].split()  # from the third field of proc(5) on
    state_of_process = fields[0]
    if state_of_process == "Z":
        return ""
    return fields[19]


def _owner_of(worker: str) -> Owner:
    if worker == this_worker():
        return Owner.ALIVE
    host, process_id, start = worker.rsplit("/", 2)
    if host != HOST:
        return Owner.UNKNOWN
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return Owner.ENDED
    except PermissionError:
        pass  # it lives, and is another user's
    if not Path("/proc/self/stat").exists():
        return Owner.UNKNOWN
    if _start_of(int(process_id)) == start:
        return Owner.ALIVE
    return Owner.ENDED  # a later process has its id


def is_stale(run: Run) -> bool:
    """Whether the process of a running run has ended. A waiting run needs none."""
    if run.status != RunStatus.RUNNING:
        return False
    owner = _owner_of(run.worker)
    if owner is not Owner.UNKNOWN:
        return owner is Owner.ENDED
    with reading() as session:
        moment = session.scalars(select(database_clock())).one()
    return moment - run.heartbeat_at > STALE_AFTER


def close_stale(session: orm.Session, conversation_id: UUID | None = None) -> None:
    """Close stale runs, of one conversation or of all, in the caller's transaction."""
    # Locked: the process that seems to have ended may be saving the answer just now.
    query = select(Run).where(Run.status == RunStatus.RUNNING)
    query = query.with_for_update()
    if conversation_id:
        query = query.where(Run.conversation_id == conversation_id)
    for run in session.scalars(query):
        if is_stale(run):
            state.interrupt(session, run)


def close_all_stale(app: Flask) -> None:
    """Close all stale runs when a process starts.

    Without a usable database that is left to the requests that open them.
    """
    try:
        with app.app_context(), transaction() as session:
            close_stale(session)
    except exc.SQLAlchemyError as error:
        name = type(error).__name__
        app.logger.warning("stale runs could not be looked for: %s", name)


def runs_that_ended(app: Flask, run_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these runs have ended, after closing the stale ones."""
    with app.app_context(), reading() as session:
        wanted = select(Run).where(Run.id.in_(run_ids))
        runs = session.scalars(wanted).all()
        stale_runs = [run for run in runs if is_stale(run)]
    for run in stale_runs:
        with app.app_context(), transaction() as session:
            close_stale(session, run.conversation_id)
    return [
        run.id for run in runs if run.status != RunStatus.RUNNING or run in stale_runs
    ]


class Heartbeat:
    """A thread that says every few seconds that runs are worked on, while there are
    any.
    """

    def __init__(self, app: Flask, live_runs: Callable[[], list[UUID]]):
        self._app = app
        self._live_runs = live_runs
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless the thread is at work already."""
        with self._lock:
            if self._thread and self._thread.is_alive():
                return
            self._thread = threading.Thread(
                target=self._beat, name="heartbeat", daemon=True
            )
            self._thread.start()

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            with self._lock:
                run_ids = self._live_runs()
                if not run_ids:
                    self._thread = None
                    return
            try:
                beat(self._app, run_ids)
            except Exception as error:  # whatever it is: the next one may succeed
                name = type(error).__name__
                self._app.logger.warning("no heartbeat could be written: %s", name)


def beat(app: Flask, run_ids: Sequence[UUID]) -> None:
    """Write a heartbeat of runs, in a transaction of its own."""
    with app.app_context(), transaction() as session:
        running = update(Run).where(Run.id.in_(run_ids))
        running = running.where(Run.status == RunStatus.RUNNING)
        heartbeat = running.values(heartbeat_at=database_clock())
        session.execute(heartbeat.execution_options(synchronize_session=False))
