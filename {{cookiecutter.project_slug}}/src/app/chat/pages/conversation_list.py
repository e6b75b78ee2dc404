"""The conversations list that every page of the chat shows, from the cache.

A user's stamp is part of the key of the cached list. A change forgets the stamp, so a
list that was read before the change is never found after it.
"""

from functools import partial
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import event, orm, select

from app import cache
from app.chat.models import Conversation
from app.database import RoutedSession, after_commit, db

MOST = 50
# How long the list may show an order that the end of an answer has changed meanwhile.
# Every other change is shown at once.
SECONDS = 60


class Listed(NamedTuple):
    """A conversation as the list shows it."""

    id: UUID
    title: str


def recent(user_id: UUID) -> list[Listed]:
    """The user's conversations, the latest first, at most ``MOST``."""
    stamp_key = _stamp_key(user_id)
    stamp = cache.get_or_set(stamp_key, SECONDS, _new_stamp)
    read_rows = partial(_rows, user_id)
    rows = cache.get_or_set(f"{stamp_key}:{stamp}", SECONDS, read_rows)
    return [Listed(UUID(conversation_id), title) for conversation_id, title in rows]


def forget(user_id: UUID, session: orm.Session | None = None) -> None:
    """Forget a user's cached list once the open transaction has committed.

    That is the transaction of *session*, or of the caller. A flush that changes
    ``Conversation`` objects calls this. After an UPDATE statement, which no flush sees,
    call it yourself.
    """
    forget_stamp = partial(cache.delete, _stamp_key(user_id))
    after_commit(forget_stamp, session)


def _stamp_key(user_id: UUID) -> str:
    return f"conversations:{user_id}"


def _new_stamp() -> str:
    return uuid4().hex


def _rows(user_id: UUID) -> list[tuple[UUID, str]]:
    newest = select(Conversation.id, Conversation.title)
    newest = newest.where(Conversation.user_id == user_id)
    newest = newest.where(Conversation.deleted_at.is_(None))
    newest = newest.order_by(Conversation.updated_at.desc(), Conversation.id.desc())
    # A page has read other rows before, and on SQLite sees the database as it was then.
    # A list from before the stamp would be kept, so the reading begins again.
    db.session.commit()
    newest = newest.limit(MOST)
    rows = db.session.execute(newest)
    return [(row.id, row.title) for row in rows]


@event.listens_for(RoutedSession, "after_flush")
def _forget_changed(session: orm.Session, context: orm.UOWTransaction) -> None:
    for row in {*session.new, *session.dirty, *session.deleted}:
        if isinstance(row, Conversation):
            forget(row.user_id, session)
