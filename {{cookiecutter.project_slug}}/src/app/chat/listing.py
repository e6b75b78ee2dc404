"""The list of a user's conversations beside the chat, which every page shows and few change."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from flask import current_app
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app import cache
from app.chat.models import Conversation
from app.database import RoutedSession, after_commit, db

MOST = 50
# How long an order may be shown that an answer's end has changed meanwhile; every other change is shown at once.
SECONDS = 60


class Listed(NamedTuple):
    id: UUID
    title: str


def _stamp(user_id: UUID) -> str:
    return f"conversations:{user_id}"


def recent(user_id: UUID) -> list[Listed]:
    """A user's conversations, the latest first.

    A change forgets the stamp that is part of the key, so a list that was read before it is never found after it.
    """

    def build() -> list[Any]:
        kept = select(Conversation.id, Conversation.title).where(
            Conversation.user_id == user_id, Conversation.deleted_at.is_(None)
        )
        newest = kept.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(MOST)
        return [tuple(row) for row in db.session.execute(newest)]

    key = f"{_stamp(user_id)}:{cache.get_or_set(_stamp(user_id), SECONDS, lambda: uuid4().hex)}"
    return [Listed(UUID(row_id), title) for row_id, title in cache.get_or_set(key, SECONDS, build)]


@event.listens_for(RoutedSession, "after_flush")
def _changed(session: Session, context: object) -> None:
    for row in {*session.new, *session.dirty, *session.deleted}:
        if isinstance(row, Conversation):
            after_commit(partial(current_app.extensions["cache"].delete, _stamp(row.user_id)), session)
