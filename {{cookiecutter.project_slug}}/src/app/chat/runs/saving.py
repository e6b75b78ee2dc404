"""Saves what live runs have written: one short transaction for all runs of a process.

If that fails the runs are saved one by one, each in a savepoint, so that only the run
that cannot be saved suffers. It keeps its text and ends with the error SAVE.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID

from flask import Flask
from sqlalchemy import Table, Update, and_, bindparam, exc, or_, orm, select, update

from app.chat.models import (
    ACTIVE,
    Conversation,
    Failure,
    Message,
    Run,
    RunStatus,
    ToolCall,
)
from app.chat.runs import state
from app.chat.runs.stale import this_worker
from app.database import Model, database_clock, now, reading, transaction
from app.observability import metrics
from app.text import identifier, storable

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

    from app.chat.model.budget import Meter


# Attempts that fail because the database is away or busy are repeated as they are.
TEMPORARY = (exc.OperationalError, exc.InterfaceError, sqlite3.OperationalError)
TEMPORARY_FAILURES = 4


@dataclass(frozen=True)
class Snapshot:
    """A live run as it is now.

    ``text`` covers its events up to ``number``. ``reasoning`` is None if it has not
    changed, ``outcome`` if the run goes on.
    """

    run_id: UUID
    conversation_id: UUID
    answer_id: UUID
    text: str
    reasoning: str | None
    number: int
    steps: Sequence[ToolCall]
    outcome: state.Outcome | None
    messages: Sequence[ModelMessage] = ()
    meter: Meter | None = None
    saves_text: bool = True


@dataclass(frozen=True)
class Saved:
    """What came of saving.

    ``runs`` holds rows of the runs that were still this process's to save, as they are
    now; a missing one was closed or deleted by someone else. ``failed`` names those of
    them that ended with the error SAVE.
    """

    runs: dict[UUID, Run]
    failed: set[UUID] = field(default_factory=set)


def _update_by_id(model: type[Model], *columns: str) -> Update:
    """An UPDATE of one row per set of parameters: ``row`` and ``new_<column>``."""
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 (for the type checker)
    one_row = update(table).where(table.c.id == bindparam("row"))
    return one_row.values({column: bindparam(f"new_{column}") for column in columns})


_TOUCH = _update_by_id(Conversation, "updated_at")
_SAVE_TEXT = _update_by_id(Message, "text", "event_number")
_SAVE_REASONING = _update_by_id(Message, "reasoning")
_SAVE_MESSAGES = _update_by_id(Message, "model_messages", "model_schema")
OUTCOME_COLUMNS = (
    "status",
    "error",
    "first_token_at",
    "finished_at",
    "model",
    "input_tokens",
    "output_tokens",
    "cost",
)
_END = _update_by_id(Run, *OUTCOME_COLUMNS)


def stops_requested(app: Flask, run_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these runs someone wants to stop, in whatever process they said so."""
    to_stop = select(Run.id).where(Run.id.in_(run_ids))
    to_stop = to_stop.where(Run.stop_requested)
    with app.app_context(), reading() as session:
        return set(session.scalars(to_stop))


def save(app: Flask, snapshots: Sequence[Snapshot], failures_before: int = 0) -> Saved:
    """Save texts, reasoning, tool steps and outcomes.

    *failures_before* counts the attempts in a row that have failed so far: a database
    that is away or busy is worth some more before any run is reduced.

    Raises:
        Exception: whatever the database raises when nothing can be saved at all.
    """
    if not snapshots:
        return Saved({})
    try:
        with app.app_context(), transaction() as session:
            return Saved(_save_all(session, snapshots))
    except Exception as error:  # whatever it is: other runs are to be saved
        if isinstance(error, TEMPORARY) and failures_before < TEMPORARY_FAILURES:
            raise
        app.logger.exception("a batch could not be saved; its runs are saved singly")
        metrics.add("app.saves.failed", scope="batch")
    with app.app_context(), transaction() as session:
        return _save_one_by_one(app, session, snapshots)


def _save_one_by_one(
    app: Flask, session: orm.Session, snapshots: Sequence[Snapshot]
) -> Saved:
    session.connection()  # a database that is away or locked is no run's fault
    saved = Saved({})
    for snapshot in snapshots:
        reduced = [_text_only(snapshot), _outcome_only(snapshot)]
        for attempt in (snapshot, *reduced):
            try:
                with session.begin_nested():
                    saved.runs.update(_save_all(session, [attempt]))
            except Exception:
                if attempt is reduced[-1]:  # the database itself does not work
                    raise
                app.logger.exception("run %s could not be saved", snapshot.run_id)
                session.expunge_all()
                continue
            if attempt is not snapshot:
                metrics.add("app.saves.failed", scope="run")
                saved.failed.add(snapshot.run_id)
            break
    return saved


def _text_only(snapshot: Snapshot) -> Snapshot:
    """The same run, ended with the error SAVE, with nothing but its text."""
    first_token_at = None
    if snapshot.outcome:
        first_token_at = snapshot.outcome.first_token_at
    outcome = state.Outcome(RunStatus.ERROR, Failure.SAVE, first_token_at)
    return replace(
        snapshot,
        text=storable(snapshot.text),
        reasoning=None,
        steps=(),
        messages=(),
        meter=None,
        outcome=outcome,
    )


def _outcome_only(snapshot: Snapshot) -> Snapshot:
    return replace(_text_only(snapshot), saves_text=False)


def _save_all(session: orm.Session, snapshots: Sequence[Snapshot]) -> dict[UUID, Run]:
    # Rows are locked in the order in which requests lock them: conversations first.
    touched = []
    for snapshot in snapshots:
        if snapshot.outcome:
            row = _row(snapshot.conversation_id, {"updated_at": now()})
            touched.append(row)
    _execute(session, _TOUCH, touched)
    owned_runs = _owned_runs(session, snapshots)
    owned = [snapshot for snapshot in snapshots if snapshot.run_id in owned_runs]
    _save_texts(session, owned)
    ends = []
    for snapshot in owned:
        if snapshot.outcome:
            run = owned_runs[snapshot.run_id]
            _end(run, snapshot.outcome, snapshot.messages)
            columns = {name: getattr(run, name) for name in OUTCOME_COLUMNS}
            ends.append(_row(run.id, columns))
    _execute(session, _END, ends)
    for snapshot in owned:
        for step in snapshot.steps:
            session.merge(step)
    meters = [each.meter for each in owned if each.outcome and each.meter]
    # In one order in every process, so that two of them never wait for each other.
    for meter in sorted(meters, key=lambda meter: meter.user_id):
        meter.settle(session)
    return owned_runs


def _execute(
    session: orm.Session, statement: Update, rows: Sequence[Mapping[str, object]]
) -> None:
    if rows:
        session.connection().execute(statement, rows)


def _row(row_id: UUID, columns: Mapping[str, object]) -> dict[str, object]:
    row: dict[str, object] = {"row": row_id}
    for name, value in columns.items():
        row[f"new_{name}"] = value
    return row


def _owned_runs(session: orm.Session, snapshots: Sequence[Snapshot]) -> dict[UUID, Run]:
    """Lock the runs that are still this process's; return what their ends tell.

    Someone may have taken this process for dead and closed a run of it. Its answer is
    saved all the same.
    """
    run_ids = [snapshot.run_id for snapshot in snapshots]
    is_closed = Run.status == RunStatus.INTERRUPTED
    taken_for_dead = and_(is_closed, Run.worker == this_worker())
    runs = update(Run).where(Run.id.in_(run_ids))
    owned = runs.where(or_(Run.status.in_(ACTIVE), taken_for_dead))
    beat = owned.values(heartbeat_at=database_clock())
    beat = beat.execution_options(synchronize_session=False)
    beat_runs = beat.returning(Run.id, Run.started_at, Run.trace_id)
    owned_runs = {}
    for run_id, started_at, trace_id in session.execute(beat_runs):
        run = Run(id=run_id, started_at=started_at, trace_id=trace_id)
        owned_runs[run_id] = run
    return owned_runs


def _save_texts(session: orm.Session, snapshots: Sequence[Snapshot]) -> None:
    texts = []
    reasoning = []
    messages = []
    for each in snapshots:
        if each.saves_text:
            columns: dict[str, object] = {"text": each.text}
            columns["event_number"] = each.number
            texts.append(_row(each.answer_id, columns))
        if each.reasoning is not None:
            columns = {"reasoning": each.reasoning}
            reasoning.append(_row(each.answer_id, columns))
        if each.messages:
            columns = _message_columns(each.messages)
            messages.append(_row(each.answer_id, columns))
    _execute(session, _SAVE_TEXT, texts)
    _execute(session, _SAVE_REASONING, reasoning)
    _execute(session, _SAVE_MESSAGES, messages)


def _message_columns(messages: Sequence[ModelMessage]) -> dict[str, object]:
    from app.chat.model import history

    return {
        "model_messages": history.dumped(messages),
        "model_schema": history.SCHEMA,
    }


def _end(run: Run, outcome: state.Outcome, messages: Sequence[ModelMessage]) -> None:
    run.status = outcome.status
    run.error = outcome.failure
    run.first_token_at = outcome.first_token_at
    if outcome.status != RunStatus.WAITING:
        run.finished_at = now()
    if messages:
        _set_costs(run, messages)


def _set_costs(run: Run, messages: Sequence[ModelMessage]) -> None:
    """Set model, tokens and cost of all responses; what is not known of one is null."""
    from app.chat.model.budget import cost_of, is_measured

    responses = [message for message in messages if message.kind == "response"]
    if not responses:
        return
    last_model = responses[-1].model_name or ""
    run.model = identifier(last_model) or None
    run.cost = cost_of(messages)
    usages = [response.usage for response in responses]
    if all(is_measured(usage) for usage in usages):
        run.input_tokens = sum(usage.input_tokens for usage in usages)
        run.output_tokens = sum(usage.output_tokens for usage in usages)
