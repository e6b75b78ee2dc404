"""Full-text search in a user's own messages.

Search is FTS5 on SQLite and a tsvector on PostgreSQL. Migrations create the index
``message_search`` and the triggers that fill it; no model describes it.
"""

import re
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from markupsafe import Markup
from sqlalchemy import Subquery, orm, select, text

from app.chat.models import Conversation, Message

MOST_WORDS = 8
# Characters of an excerpt before and after the start of the first word found.
BEFORE = 40
AFTER = 120

_FTS5 = text(
    "SELECT message_id AS id FROM message_search WHERE message_search MATCH :match"
)
_TSVECTOR = text(
    "SELECT message_id AS id FROM message_search"
    " WHERE user_id = :user_id AND document @@ to_tsquery('simple', :match)"
)
# Marks of Markdown and whitespace; an excerpt is read as plain text.
_MARKS = re.compile(r"[|`*#>~\s]+|-{2,}")


class Hit(NamedTuple):
    """A message that was found, with an excerpt around the first word found."""

    conversation_id: UUID
    title: str
    message_id: UUID
    role: str
    at: datetime
    excerpt: Markup


def find(session: orm.Session, user_id: UUID, wanted: str, most: int = 30) -> list[Hit]:
    """The newest messages of the user that contain every word of *wanted*.

    A word matches the start of a word in the message. Messages of deleted
    conversations are left out.
    """
    words = re.findall(r"\w+", wanted)[:MOST_WORDS]
    if not words:
        return []
    dialect = session.get_bind().dialect.name
    matching = _messages_with(words, user_id, dialect)
    newest = select(Message, Conversation.title)
    newest = newest.join(matching, Message.id == matching.c.id)
    newest = newest.join(Conversation, Message.conversation_id == Conversation.id)
    newest = newest.where(Conversation.deleted_at.is_(None))
    newest = newest.order_by(matching.c.id.desc())
    hits = []
    for message, title in session.execute(newest.limit(most)):
        hit = Hit(
            conversation_id=message.conversation_id,
            title=title,
            message_id=message.id,
            role=message.role,
            at=message.created_at,
            excerpt=_excerpt(message.text, words),
        )
        hits.append(hit)
    return hits


def _messages_with(words: list[str], user_id: UUID, dialect: str) -> Subquery:
    """The ids of the user's messages that contain all *words*."""
    if dialect == "sqlite":
        terms = [f'user_id:"{user_id.hex}"']
        terms.extend(f'text:"{word}"*' for word in words)
        statement = _FTS5.bindparams(match=" AND ".join(terms))
    else:
        match = " & ".join(f"{word}:*" for word in words)
        statement = _TSVECTOR.bindparams(user_id=user_id, match=match)
    return statement.columns(Message.id).subquery()


def _excerpt(source: str, words: list[str]) -> Markup:
    """The text around the first word found, with all words found marked."""
    plain = _MARKS.sub(" ", source)
    starts = "|".join(rf"\b{re.escape(word)}" for word in words)
    pattern = re.compile(starts, re.IGNORECASE)
    begin = 0
    if first := pattern.search(plain):
        begin = max(0, first.start() - BEFORE)
    end = begin + BEFORE + AFTER
    piece = plain[begin:end]
    excerpt = Markup()
    if begin > 0:
        excerpt += "…"
    position = 0
    for match in pattern.finditer(piece):
        excerpt += piece[position : match.start()]  # adding to Markup escapes
        excerpt += Markup("<mark>{}</mark>").format(match[0])
        position = match.end()
    excerpt += piece[position:]
    if end < len(plain):
        excerpt += "…"
    return excerpt
