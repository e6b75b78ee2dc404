"""``flask cleanup`` and its daily job: what nobody needs any more is deleted, in small batches with pauses."""

import time
from datetime import timedelta
from typing import Any

import click
from flask import current_app
from sqlalchemy import ColumnElement, delete, func, select

from app import assets, jobs
from app.accounts.models import UserSession
from app.chat.models import Conversation, Run
from app.chat.runs import stale
from app.config import Settings, settings
from app.database import now, reading, transaction
from app.observability import metrics, tracing
from app.operations import operating

# A batch holds its locks for less time than anyone notices, and leaves the database to others for longer.
BATCH_SECONDS, MOST_ROWS, REST = 0.01, 2_000, 3
KEEP_ASSETS = timedelta(days=30)  # longer than a page stays open


def expired(settings: Settings) -> dict[str, tuple[Any, ColumnElement[bool]]]:
    """What may go, by name: a model, and which of its rows; what refers to them goes with them. 0 days keeps all."""
    ages = {
        "deleted conversations": (Conversation, Conversation.deleted_at, settings.keep_deleted_days),
        "unused conversations": (Conversation, Conversation.updated_at, settings.keep_conversations_days),
        "runs": (Run, Run.finished_at, settings.keep_runs_days),
        "sessions": (UserSession, UserSession.last_seen_at, settings.session_idle_hours / 24),
    }
    return {name: (model, column < now() - timedelta(days=d)) for name, (model, column, d) in ages.items() if d}


@tracing.tracer.start_as_current_span("clean-up")
def clean(dry_run: bool = False) -> dict[str, int]:
    """Delete what has expired; returns how many rows of each kind went, or would go."""
    act = _count if dry_run else _delete
    report = {name: act(model, condition) for name, (model, condition) in expired(settings()).items()}
    report["files of old releases"] = 0 if dry_run else assets.forget(KEEP_ASSETS)
    current_app.logger.info("cleaned up: %s", report)
    for name, rows in report.items():
        metrics.add("app.cleanup.rows", 0 if dry_run else rows, what=name)
    return report


def _count(model: Any, condition: ColumnElement[bool]) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(model).where(condition)) or 0


def _delete(model: Any, condition: ColumnElement[bool]) -> int:
    size, total = 10.0, 0
    while True:
        started = time.monotonic()
        with transaction() as session:  # a row that someone works on is left for the next time
            batch = select(model.id).where(condition).limit(int(size)).with_for_update(skip_locked=True)
            gone = session.scalars(batch).all()  # as a subquery PostgreSQL may run it again and again
            session.execute(delete(model).where(model.id.in_(gone)))
        if not gone:
            return total
        total, took = total + len(gone), time.monotonic() - started
        size = max(1, min(MOST_ROWS, size * BATCH_SECONDS / took, size * 2))
        time.sleep(REST * took)


@jobs.periodic(every=timedelta(days=1))
def clean_daily() -> None:
    clean()


@jobs.periodic(every=timedelta(minutes=1))
def close_stale_runs() -> None:
    """Runs of a process that is gone end as interrupted although nobody looks at them."""
    with transaction() as session:
        stale.close_stale(session)


@click.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@operating()
def command(dry_run: bool) -> None:
    """Delete what has expired by the KEEP_* settings, and report it."""
    for name, rows in clean(dry_run).items():
        click.echo(f"{rows:>9} {name}")
