"""Runs whose process is gone: they are closed as interrupted, with the text that was saved."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.chat import telemetry
from app.chat.models import Run, RunStatus
from app.database import now, reading, transaction

logger = logging.getLogger(__name__)
STALE_AFTER = timedelta(seconds=20)  # without a heartbeat, which comes every 5 seconds at the latest
HOST = socket.gethostname()
TOKEN = uuid4().hex[:8]


def this_worker() -> str:
    """This process, named so that another one on the same host can see when it has ended."""
    return f"{HOST}/{os.getpid()}/{TOKEN}"


def is_stale(run: Run) -> bool:
    """Whether the process of a run is gone. A waiting run needs none."""
    return run.status == RunStatus.RUNNING and (now() - run.heartbeat_at > STALE_AFTER or _has_ended(run.worker))


def close(session: Session, conversation_id: UUID | None = None) -> None:
    """Close stale runs, of one conversation or of all, in a transaction of the caller's."""
    # Locked, since the process that is taken for dead may be saving the answer just now.
    query = select(Run).where(Run.status == RunStatus.RUNNING).with_for_update()
    if conversation_id:
        query = query.where(Run.conversation_id == conversation_id)
    for run in session.scalars(query):
        if is_stale(run):
            run.status, run.finished_at = RunStatus.INTERRUPTED, now()
            telemetry.count(run)


def over(app: Flask, run_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these runs are over, after closing the stale ones."""
    with app.app_context(), reading() as session:
        runs = session.scalars(select(Run).where(Run.id.in_(run_ids))).all() if run_ids else []
    for run in filter(is_stale, runs):
        with app.app_context(), transaction() as session:
            close(session, run.conversation_id)
    return [run.id for run in runs if run.status != RunStatus.RUNNING or is_stale(run)]


def close_all(app: Flask) -> None:
    """Close all stale runs when a process starts; without a usable database that is left to whoever opens them."""
    try:
        with app.app_context(), transaction() as session:
            close(session)
    except SQLAlchemyError as error:
        logger.warning("stale runs could not be looked for: %s", type(error).__name__)


def _has_ended(worker: str) -> bool:
    """Whether a worker is known to have ended; one on another host, or alive, is judged by its heartbeat."""
    host, pid, _ = worker.rsplit("/", 2)
    if host != HOST or worker == this_worker():
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except OSError:  # someone else's process, or a system without /proc
        return False
    return state == "Z"  # killed, and not yet collected by its parent
