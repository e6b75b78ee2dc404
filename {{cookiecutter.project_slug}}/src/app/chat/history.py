"""What is kept of conversations: the path that a page shows, the turns that the model is told of, and what live runs
have produced, written in one short transaction for all runs of a process.

A turn is a question with its answer, so that a tool call is never parted from its result; the model is told of whole
turns, the newest that fit a token budget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy import Select, Table, and_, bindparam, literal, or_, orm, select, update

from app.chat.models import ACTIVE, Approval, Conversation, Message, Run, RunStatus, ToolCall
from app.chat.usage import Meter, cost_of
from app.database import now, reading, transaction

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

SCHEMA = 2  # of Message.model_messages: the major version of Pydantic AI that wrote it
MAX_TURNS = 100
CHARS_PER_TOKEN = 4  # a rule of thumb for English text
# What belongs to a message that is shown.
SHOWN = orm.joinedload(Message.run), orm.joinedload(Message.feedback), orm.selectinload(Message.tool_calls)


# Built once: building it takes longer than running it. The bound ends the recursion, on SQLite and PostgreSQL alike.
_begin = select(Message.id, Message.parent_id, literal(1).label("length")).where(Message.id == bindparam("head_id"))
_steps = _begin.cte("path", recursive=True)
_parent = orm.aliased(Message)
_next = select(_parent.id, _parent.parent_id, _steps.c.length + 1).join(_steps, _parent.id == _steps.c.parent_id)
_steps = _steps.union_all(_next.where(_steps.c.length < bindparam("most")))
_PATH = select(Message).join(_steps, Message.id == _steps.c.id).order_by(_steps.c.length.desc())


def path(session: orm.Session, head_id: UUID | None, most: int, *options: Any) -> list[Message]:
    """The last *most* messages of the path that ends at *head_id*, oldest first, however long it is."""
    return list(session.scalars(_PATH.options(*options), {"head_id": head_id, "most": most})) if head_id else []


def versions(session: orm.Session, shown: Sequence[Message]) -> dict[UUID, list[UUID]]:
    """The ids of all versions of each message that has more than one, oldest first."""
    siblings: dict[UUID | None, list[UUID]] = defaultdict(list)
    if shown:
        # First messages have no parent to be found by; looking through the whole conversation is for their sake only.
        first = and_(Message.conversation_id == shown[0].conversation_id, Message.parent_id.is_(None))
        beside = Message.parent_id.in_([m.parent_id for m in shown if m.parent_id])
        query = select(Message.id, Message.parent_id).where(beside if shown[0].parent_id else or_(beside, first))
        for message_id, parent_id in session.execute(query.order_by(Message.id)):
            siblings[parent_id].append(message_id)
    return {message.id: ids for message in shown if len(ids := siblings[message.parent_id]) > 1}


def end_of(session: orm.Session, message: Message) -> UUID:
    """The newest message of those that follow *message*: the end of the latest path through it."""
    begin: Select[UUID] = select(Message.id).where(Message.id == message.id)
    below = begin.cte("below", recursive=True)
    child = orm.aliased(Message)
    below = below.union_all(select(child.id).join(below, child.parent_id == below.c.id))
    return cast("UUID", session.scalars(select(below.c.id).order_by(below.c.id.desc()).limit(1)).one())


def load(session: orm.Session, question: Message, token_budget: int) -> list[ModelMessage]:
    """The turns before *question* as model messages, oldest first, within *token_budget* estimated tokens."""
    rows = path(session, question.parent_id, 2 * MAX_TURNS, orm.undefer(Message.model_messages))
    turns: list[list[ModelMessage]] = []
    budget = token_budget * CHARS_PER_TOKEN
    for asked, answered in reversed(list(zip(rows[::2], rows[1::2], strict=False))):
        budget -= len(asked.text) + len(answered.model_messages or answered.text)
        if budget < 0:
            break
        turns.append(_turn(asked, answered))
    return [message for turn in reversed(turns) for message in turn]


def waiting(session: orm.Session, answer_id: UUID) -> tuple[list[ModelMessage], dict[str, str | None]]:
    """What a run exchanged before it waited for approvals, and the decisions: by the call's id, a denial's reason."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    answer = session.get_one(Message, answer_id, options=[orm.undefer(Message.model_messages)])
    decided = select(ToolCall.call_id, Approval.approved, Approval.reason).join(Approval)
    decided = decided.where(ToolCall.message_id == answer_id, ToolCall.finished_at.is_(None))
    no, rows = "The user does not allow this.", session.execute(decided)
    decisions = {call_id: None if approved else f"{no} {reason or ''}".strip() for call_id, approved, reason in rows}
    return ModelMessagesTypeAdapter.validate_json(answer.model_messages or "[]"), decisions


def _turn(asked: Message, answered: Message) -> list[ModelMessage]:
    from pydantic import ValidationError
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest, ModelResponse, TextPart

    if answered.model_messages is not None and answered.model_schema == SCHEMA:
        try:
            messages = ModelMessagesTypeAdapter.validate_json(answered.model_messages)
        except ValidationError:
            current_app.logger.warning("message %s has unreadable model messages; its text is used", answered.id)
        else:
            if isinstance(messages[-1], ModelResponse) and not messages[-1].tool_calls:
                return messages  # one that still waited for an approval when it ended lacks the results of its calls
    return [ModelRequest.user_text_prompt(asked.text), ModelResponse(parts=[TextPart(answered.text or "(no answer)")])]


class Snapshot(NamedTuple):
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
    return {"row": snapshot.answer_id, "new_model_messages": messages, "new_model_schema": SCHEMA}
