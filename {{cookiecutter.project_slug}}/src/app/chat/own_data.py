"""What the chat stores about a user, for the export of all their data; and what stops when the account goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import select

from app.accounts.models import User
from app.accounts.own_data import account_deleted, columns, exports
from app.chat import runs
from app.chat.models import ACTIVE, Conversation, Message, Run
from app.database import db, reading


def _conversations(user_id: UUID) -> Iterator[dict[str, Any]]:
    with reading() as session:
        ids = list(session.scalars(select(Conversation.id).where(Conversation.user_id == user_id)))
    for conversation_id in ids:
        with reading() as session:
            conversation = session.get(Conversation, conversation_id)
            if conversation is None:
                continue
            messages = session.scalars(
                select(Message).where(Message.conversation_id == conversation_id).order_by(Message.id)
            )
            yield columns(conversation) | {"messages": [columns(row, "model_messages") for row in messages]}


def _stop_runs(sender: Any, user: User) -> None:
    for run in db.session.scalars(select(Run).where(Run.user_id == user.id, Run.status.in_(ACTIVE))):
        runs.stop(run)
    db.session.commit()


def init_app(app: Flask) -> None:
    exports(app, "conversations", _conversations)
    account_deleted.connect(_stop_runs, app)
