"""How conversations are found again: the list that every page shows, and full-text search in one's own messages.

Search is FTS5 on SQLite and tsvector on PostgreSQL. The index ``message_search`` belongs to the migrations, whose
triggers fill it; no model describes it.
"""

import re
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from markupsafe import Markup
from sqlalchemy import event, orm, select, text

from app import cache
from app.chat.models import Conversation, Message
from app.database import RoutedSession, after_commit, db

MOST_WORDS = 8
BEFORE, AFTER = 40, 120  # characters of an excerpt around the first word found
FTS5, TSVECTOR = "message_search MATCH :match", "user_id = :user_id AND document @@ to_tsquery('simple', :match)"


class Hit(NamedTuple):
    """A message that contains every word: where it is, who wrote it, and the text around the first of them."""

    conversation_id: UUID
    title: str
    message_id: UUID
    role: str
    at: datetime
    excerpt: Markup


def find(session: orm.Session, user_id: UUID, wanted: str, most: int = 30) -> list[Hit]:
    """The user's newest messages in which every word of *wanted* begins a word; deleted conversations do not count."""
    words = re.findall(r"\w+", wanted)[:MOST_WORDS]
    if not words:
        return []
    if session.get_bind().dialect.name == "sqlite":
        condition, match = FTS5, " AND ".join([f'user_id:"{user_id.hex}"', *(f'text:"{word}"*' for word in words)])
    else:
        condition, match = TSVECTOR, " & ".join(f"{word}:*" for word in words)
    found = text(f"SELECT message_id AS id FROM message_search WHERE {condition}").columns(Message.id).subquery()  # noqa: S608
    hit = select(Conversation.id, Conversation.title, Message.id, Message.role, Message.created_at, Message.text)
    hit = hit.join(found, Message.id == found.c.id).join(Conversation, Message.conversation_id == Conversation.id)
    hit = hit.where(Conversation.deleted_at.is_(None)).order_by(found.c.id.desc()).limit(most)
    rows: Any = session.execute(hit, {"match": match, "user_id": user_id})
    return [Hit._make((*row[:5], _excerpt(row.text, words))) for row in rows]


def _excerpt(body: str, words: list[str]) -> Markup:
    body = re.sub(r"[|`*#>~\s]+|-{2,}", " ", body)  # read, not rendered
    marked = re.compile("|".join(rf"\b{re.escape(word)}" for word in words), re.IGNORECASE)
    first = marked.search(body)
    begin = max(0, first.start() - BEFORE) if first else 0
    piece = body[begin : begin + BEFORE + AFTER]
    shown, end = Markup(), 0
    for hit in marked.finditer(piece):
        shown += Markup("{}<mark>{}</mark>").format(piece[end : hit.start()], hit[0])
        end = hit.end()
    more = "…" if begin + len(piece) < len(body) else ""
    return Markup("{}{}{}{}").format("…" if begin else "", shown, piece[end:], more)


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
        kept = Conversation.user_id == user_id, Conversation.deleted_at.is_(None)
        latest_first = Conversation.updated_at.desc(), Conversation.id.desc()
        newest = select(Conversation.id, Conversation.title).where(*kept).order_by(*latest_first).limit(MOST)
        return [tuple(row) for row in db.session.execute(newest)]

    key = f"{_stamp(user_id)}:{cache.get_or_set(_stamp(user_id), SECONDS, lambda: uuid4().hex)}"
    return [Listed(UUID(row_id), title) for row_id, title in cache.get_or_set(key, SECONDS, build)]


@event.listens_for(RoutedSession, "after_flush")
def _changed(session: orm.Session, context: object) -> None:
    for row in {*session.new, *session.dirty, *session.deleted}:
        if isinstance(row, Conversation):
            after_commit(partial(cache.delete, _stamp(row.user_id)), session)
