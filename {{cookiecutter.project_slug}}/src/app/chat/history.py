"""What the model is told of earlier turns: whole turns, the newest that fit a token budget.

A turn is a question with its answer, so that a tool call is never parted from its result.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Select, bindparam, or_, select
from sqlalchemy.orm import Session, aliased, undefer

from app.chat.models import Approval, Message, ToolCall

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

logger = logging.getLogger(__name__)
SCHEMA = 2  # of Message.model_messages: the major version of Pydantic AI that wrote it
MAX_TURNS = 100
CHARS_PER_TOKEN = 4  # a rule of thumb for English text


def _path_ids() -> Select[UUID]:
    steps = select(Message.id, Message.parent_id).where(Message.id == bindparam("head_id")).cte("path", recursive=True)
    parent = aliased(Message)
    steps = steps.union_all(select(parent.id, parent.parent_id).join(steps, parent.id == steps.c.parent_id))
    return select(steps.c.id).limit(bindparam("most"))  # which ends the recursion, on SQLite and PostgreSQL alike


_PATH_IDS = _path_ids()  # built once: building it takes longer than running it


def path(session: Session, head_id: UUID | None, most: int, *options: Any) -> list[Message]:
    """The last *most* messages of the path that ends at *head_id*, oldest first, however long it is."""
    if head_id is None:
        return []
    ids = session.scalars(_PATH_IDS, {"head_id": head_id, "most": most}).all()
    by_id = {row.id: row for row in session.scalars(select(Message).where(Message.id.in_(ids)).options(*options))}
    return [by_id[message_id] for message_id in reversed(ids)]


def versions(session: Session, shown: Sequence[Message]) -> dict[UUID, list[UUID]]:
    """The ids of all versions of each message that has more than one, oldest first."""
    siblings: dict[UUID | None, list[UUID]] = defaultdict(list)
    parents = [message.parent_id for message in shown if message.parent_id]
    if shown:
        beside = or_(Message.parent_id.in_(parents), Message.parent_id.is_(None))
        query = select(Message.id, Message.parent_id).where(Message.conversation_id == shown[0].conversation_id, beside)
        for message_id, parent_id in session.execute(query.order_by(Message.id)):
            siblings[parent_id].append(message_id)
    return {message.id: ids for message in shown if len(ids := siblings[message.parent_id]) > 1}


def end_of(session: Session, message: Message) -> UUID:
    """The newest message of those that follow *message*: the end of the latest path through it."""
    begin: Select[UUID] = select(Message.id).where(Message.id == message.id)
    below = begin.cte("below", recursive=True)
    child = aliased(Message)
    below = below.union_all(select(child.id).join(below, child.parent_id == below.c.id))
    newest: UUID = session.scalars(select(below.c.id).order_by(below.c.id.desc()).limit(1)).one()
    return newest


def load(session: Session, question: Message, token_budget: int) -> list[ModelMessage]:
    """The turns before *question* as model messages, oldest first, within *token_budget* estimated tokens."""
    rows = path(session, question.parent_id, 2 * MAX_TURNS, undefer(Message.model_messages))
    turns: list[list[ModelMessage]] = []
    budget = token_budget * CHARS_PER_TOKEN
    for asked, answered in reversed(list(zip(rows[::2], rows[1::2], strict=False))):
        budget -= len(asked.text) + len(answered.model_messages or answered.text)
        if budget < 0:
            break
        turns.append(_turn(asked, answered))
    return [message for turn in reversed(turns) for message in turn]


def waiting(session: Session, answer_id: UUID) -> tuple[list[ModelMessage], dict[str, str | None]]:
    """What a run exchanged before it waited for approvals, and the decisions: by the call's id, a denial's reason."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    answer = session.get_one(Message, answer_id, options=[undefer(Message.model_messages)])
    decided = select(ToolCall.call_id, Approval.approved, Approval.reason).join(Approval)
    decided = decided.where(ToolCall.message_id == answer_id, ToolCall.finished_at.is_(None))
    decisions = {
        call_id: None if approved else f"The user does not allow this. {reason or ''}".strip()
        for call_id, approved, reason in session.execute(decided)
    }
    return ModelMessagesTypeAdapter.validate_json(answer.model_messages or "[]"), decisions


def _turn(asked: Message, answered: Message) -> list[ModelMessage]:
    from pydantic import ValidationError
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelRequest, ModelResponse, TextPart, UserPromptPart

    if answered.model_messages is not None and answered.model_schema == SCHEMA:
        try:
            messages = ModelMessagesTypeAdapter.validate_json(answered.model_messages)
        except ValidationError:
            logger.warning("message %s has unreadable model messages; its text is used", answered.id)
        else:
            if isinstance(messages[-1], ModelResponse) and not messages[-1].tool_calls:
                return messages  # one that still waited for an approval when it ended lacks the results of its calls
    return [
        ModelRequest(parts=[UserPromptPart(asked.text)]),
        ModelResponse(parts=[TextPart(answered.text or "(no answer)")]),
    ]
