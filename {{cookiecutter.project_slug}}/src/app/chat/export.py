"""Conversations as files: the shown path as Markdown, or every version as data; both free of active content. They are
also part of all that a user can take along, and go with the account."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import delete, orm, select

from app.accounts.models import User
from app.accounts.own_data import account_deleted, columns, exports
from app.chat import history, runs
from app.chat.models import ACTIVE, Conversation, Message, Run
from app.config import project
from app.database import db, now, reading
from app.security.markdown import clean_text, inert_source

MIMETYPES = {"md": "text/markdown", "json": "application/json"}
MOST_MESSAGES = 100_000
INTERNAL = ("user_id", "message_id", "conversation_id", "answer_id", "client_key", "worker", "span_id", "event_number",
            "model_messages", "model_schema", "stop_requested", "heartbeat_at", "position")  # fmt: skip


def export(session: orm.Session, conversation: Conversation, kind: str) -> str:
    """The conversation as *kind*, ``md`` or ``json``."""
    if kind == "json":
        return json.dumps(as_data(session, conversation), ensure_ascii=False, indent=2, default=str) + "\n"
    shown = history.path(session, conversation.head_id, MOST_MESSAGES)
    names = {"user": "You", "assistant": "Assistant"}
    parts = [f"# {inert_source(conversation.title)}", f"Exported from {project()['name']}, {now():%Y-%m-%d %H:%M} UTC."]
    parts += [f"## {names[m.role]}, {m.created_at:%Y-%m-%d %H:%M}\n\n{inert_source(m.text)}" for m in shown]
    return "\n\n".join(parts) + "\n"


def as_data(session: orm.Session, conversation: Conversation) -> dict[str, Any]:
    """The conversation with every version of its messages, and all that people, model and tools did there."""
    query = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.id)
    shown = {message.id for message in history.path(session, conversation.head_id, MOST_MESSAGES)}
    messages = [_message(row) | {"shown": row.id in shown} for row in session.scalars(query.options(*history.SHOWN))]
    return columns(conversation, *INTERNAL) | {"title": clean_text(conversation.title), "messages": messages}


def _message(message: Message) -> dict[str, Any]:
    own = {"text": inert_source(message.text), "tool_calls": [columns(call, *INTERNAL) for call in message.tool_calls]}
    parts = {"run": message.run, "feedback": message.feedback}.items()
    return columns(message, *INTERNAL) | own | {name: row and columns(row, *INTERNAL) for name, row in parts}


def _conversations(user_id: UUID) -> Iterator[dict[str, Any]]:
    with reading() as session:
        ids = session.scalars(select(Conversation.id).where(Conversation.user_id == user_id)).all()
    for conversation_id in ids:
        with reading() as session:
            if conversation := session.get(Conversation, conversation_id):
                yield as_data(session, conversation)


def _let_go(sender: Any, user: User) -> None:
    """Stop what works for the user, then delete in the order in which everyone locks: conversations before users."""
    for run in db.session.scalars(select(Run).where(Run.user_id == user.id, Run.status.in_(ACTIVE))):
        runs.stop(run)
    db.session.execute(delete(Conversation).where(Conversation.user_id == user.id))
    db.session.commit()


def init_app(app: Flask) -> None:
    exports(app, "conversations", _conversations)
    account_deleted.connect(_let_go, app)
