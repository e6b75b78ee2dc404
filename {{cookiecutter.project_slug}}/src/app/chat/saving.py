"""Writes what live runs have produced: one short transaction for all runs of a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from flask import Flask
from sqlalchemy import Table, bindparam, select, update

from app.chat import history
from app.chat.models import ACTIVE, Conversation, Message, Run, RunStatus, ToolCall
from app.chat.usage import Meter, cost_of
from app.database import now, reading, transaction

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage


@dataclass(frozen=True)
class Snapshot:
    """A live run as it is now: *text* covers its events up to *number*; *outcome* holds columns of a run that ended."""

    run_id: UUID
    conversation_id: UUID
    answer_id: UUID
    text: str
    number: int
    steps: Sequence[ToolCall]
    outcome: dict[str, Any] | None
    messages: Sequence[ModelMessage]
    meter: Meter | None


def _update(model: type[Any], *columns: str) -> Any:
    table = cast("Table", model.__table__)
    new: Any = {name: bindparam(f"new_{name}") for name in columns}
    return update(table).where(table.c.id == bindparam("row")).values(new)


_SAVE_TEXT = _update(Message, "text", "event_number")
_SAVE_MESSAGES = _update(Message, "model_messages", "model_schema")
_TOUCH = _update(Conversation, "updated_at")
OUTCOME = ("status", "error", "first_token_at", "finished_at", "model", "input_tokens", "output_tokens", "cost")
_CLOSE = _update(Run, *OUTCOME)


def stops_requested(app: Flask, run_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these runs someone wants to stop, in whatever process they said so."""
    with app.app_context(), reading() as session:
        return set(session.scalars(select(Run.id).where(Run.id.in_(run_ids), Run.stop_requested)))


def save(app: Flask, snapshots: Sequence[Snapshot]) -> dict[UUID, Run]:
    """Save texts, tool steps, heartbeats and outcomes.

    Returns:
        The runs that were still active, with how they ended; a missing one was closed or deleted by someone else.
    """
    if not snapshots:
        return {}
    with app.app_context(), transaction() as session:
        connection = session.connection()

        def execute(statement: Any, rows: list[dict[str, Any]]) -> None:
            if rows:
                connection.execute(statement, rows)

        # Rows are locked in the order in which requests lock them: conversations first.
        execute(_TOUCH, [{"row": s.conversation_id, "new_updated_at": now()} for s in snapshots if s.outcome])
        mine = Run.id.in_([s.run_id for s in snapshots]), Run.status.in_(ACTIVE)
        beat = update(cast("Table", Run.__table__)).where(*mine).values(heartbeat_at=now())
        returned = beat.returning(Run.id, Run.started_at, Run.trace_id)
        active = {row.id: row._mapping for row in connection.execute(returned)}
        kept = [s for s in snapshots if s.run_id in active]
        ended = {s.run_id: _outcome(s) for s in kept if s.outcome}

        execute(_SAVE_TEXT, [{"row": s.answer_id, "new_text": s.text, "new_event_number": s.number} for s in kept])
        execute(_CLOSE, [{"row": row} | {f"new_{k}": v for k, v in columns.items()} for row, columns in ended.items()])
        execute(_SAVE_MESSAGES, [_messages(s) for s in kept if s.messages])
        for step in (step for s in kept for step in s.steps):
            session.merge(step)
        for snapshot in kept:
            if snapshot.outcome and snapshot.meter:
                snapshot.meter.settle(session)
    return {run_id: Run(**columns, **ended.get(run_id, {})) for run_id, columns in active.items()}


def _outcome(snapshot: Snapshot) -> dict[str, Any]:
    columns = dict.fromkeys(OUTCOME) | (snapshot.outcome or {})
    if columns["status"] != RunStatus.WAITING:
        columns["finished_at"] = now()
    if responses := [message for message in snapshot.messages if message.kind == "response"]:
        columns |= {"model": responses[-1].model_name, "cost": cost_of(snapshot.messages)}
        columns["input_tokens"] = sum(response.usage.input_tokens for response in responses)
        columns["output_tokens"] = sum(response.usage.output_tokens for response in responses)
    return columns


def _messages(snapshot: Snapshot) -> dict[str, Any]:
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    messages = ModelMessagesTypeAdapter.dump_json(list(snapshot.messages)).decode()
    return {"row": snapshot.answer_id, "new_model_messages": messages, "new_model_schema": history.SCHEMA}
