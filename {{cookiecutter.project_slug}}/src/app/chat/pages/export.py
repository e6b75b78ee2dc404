"""Conversations as files, and as part of a user's own data.

Markdown has the path that is shown, JSON every version of every message. Both are free
of active content. Conversations are deleted together with their user's account.
"""

import json
from collections.abc import Iterator
from typing import Literal
from uuid import UUID

from flask import Flask
from sqlalchemy import delete, orm, select

from app.accounts.models import User
from app.accounts.own_data import account_deleted, columns, exports
from app.chat import message_tree
from app.chat.models import ACTIVE, Conversation, Message, Run
from app.chat.runs import service
from app.config import project
from app.database import Model, db, now, reading
from app.security.markdown import inert_source
from app.text import clean_text

MIMETYPES = {"md": "text/markdown", "json": "application/json"}
MOST_MESSAGES = 100_000
NAMES = {"user": "You", "assistant": "Assistant"}
# Columns that say nothing to people, or repeat what surrounds them.
INTERNAL_COLUMNS = (
    "answer_id",
    "client_key",
    "conversation_id",
    "event_number",
    "heartbeat_at",
    "message_id",
    "model_messages",
    "model_schema",
    "position",
    "response",
    "span_id",
    "stop_requested",
    "user_id",
    "worker",
)


def export(
    session: orm.Session, conversation: Conversation, kind: Literal["md", "json"]
) -> str:
    """The conversation as the text of a file."""
    if kind == "md":
        return _as_markdown(session, conversation)
    data = as_data(session, conversation)
    return json.dumps(data, ensure_ascii=False, indent=2, default=str) + "\n"


def _as_markdown(session: orm.Session, conversation: Conversation) -> str:
    parts = [
        f"# {inert_source(conversation.title)}",
        f"Exported from {project()['name']}, {now():%Y-%m-%d %H:%M} UTC.",
    ]
    path = message_tree.path(session, conversation.head_id, MOST_MESSAGES)
    for message in path:
        written_at = f"{message.created_at:%Y-%m-%d %H:%M}"
        parts.append(f"## {NAMES[message.role]}, {written_at}")
        parts.append(inert_source(message.text))
    return "\n\n".join(parts) + "\n"


def as_data(session: orm.Session, conversation: Conversation) -> dict[str, object]:
    """The conversation with all versions of its messages, runs, steps and feedback."""
    in_order = select(Message).order_by(Message.id)
    in_order = in_order.where(Message.conversation_id == conversation.id)
    whole = in_order.options(*message_tree.SHOWN, orm.undefer(Message.reasoning))
    messages = session.scalars(whole).all()
    path = message_tree.path(session, conversation.head_id, MOST_MESSAGES)
    shown_ids = {message.id for message in path}
    messages_data = []
    for message in messages:
        message_data = _message_data(message)
        message_data["shown"] = message.id in shown_ids
        messages_data.append(message_data)
    data = _row_data(conversation)
    data["title"] = clean_text(conversation.title)
    data["messages"] = messages_data
    return data


def _message_data(message: Message) -> dict[str, object]:
    data = _row_data(message)
    data["text"] = inert_source(message.text)
    data["reasoning"] = None
    if message.reasoning:
        data["reasoning"] = inert_source(message.reasoning)
    data["tool_calls"] = [_row_data(call) for call in message.tool_calls]
    data["run"] = None
    if message.run:
        data["run"] = _row_data(message.run)
    data["feedback"] = None
    if message.feedback:
        data["feedback"] = _row_data(message.feedback)
    return data


def _row_data(row: Model) -> dict[str, object]:
    return columns(row, *INTERNAL_COLUMNS)


def _conversations_of(user_id: UUID) -> Iterator[dict[str, object]]:
    """All conversations of a user, each read in a short session of its own."""
    ids = select(Conversation.id).where(Conversation.user_id == user_id)
    with reading() as session:
        conversation_ids = session.scalars(ids).all()
    for conversation_id in conversation_ids:
        with reading() as session:
            conversation = session.get(Conversation, conversation_id)
            if conversation is not None:
                yield as_data(session, conversation)


def _delete_conversations(sender: Flask, user: User) -> None:
    """Stop the user's runs and delete the conversations, before the account is deleted.

    All code locks conversations before users; so does this.
    """
    active_runs = select(Run).where(Run.user_id == user.id)
    active_runs = active_runs.where(Run.status.in_(ACTIVE))
    for run in db.session.scalars(active_runs).all():
        service.stop(run)
    conversations = delete(Conversation).where(Conversation.user_id == user.id)
    db.session.execute(conversations)
    db.session.commit()


def init_app(app: Flask) -> None:
    exports(app, "conversations", _conversations_of)
    account_deleted.connect(_delete_conversations, app)
