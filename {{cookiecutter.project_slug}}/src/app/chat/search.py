"""Full-text search in a user's own messages: FTS5 on SQLite, tsvector on PostgreSQL.

The index ``message_search`` belongs to the migrations, whose triggers fill it; no model describes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from markupsafe import Markup
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.chat.models import Conversation, Message

MOST_WORDS = 8
BEFORE, AFTER = 40, 120  # characters of an excerpt around the first word found
FOUND = {
    "sqlite": text("SELECT message_id AS id FROM message_search WHERE message_search MATCH :match"),
    "postgresql": text(
        "SELECT message_id AS id FROM message_search"
        " WHERE user_id = :user_id AND document @@ to_tsquery('simple', :match)"
    ),
}


@dataclass(frozen=True)
class Hit:
    """A message that contains every word: where it is, who wrote it, and the text around the first of them."""

    conversation_id: UUID
    title: str
    message_id: UUID
    role: str
    at: datetime
    excerpt: Markup


def find(session: Session, user_id: UUID, wanted: str, most: int = 30) -> list[Hit]:
    """The user's newest messages in which every word of *wanted* begins a word; deleted conversations do not count."""
    words = re.findall(r"\w+", wanted)[:MOST_WORDS]
    if not words:
        return []
    engine = session.get_bind().dialect.name
    if engine == "sqlite":
        match = " AND ".join([f'user_id:"{user_id.hex}"', *(f'text:"{word}"*' for word in words)])
    else:
        match = " & ".join(f"{word}:*" for word in words)
    found = FOUND[engine].columns(Message.id).subquery()
    query = (
        select(Conversation.id, Conversation.title, Message.id, Message.role, Message.created_at, Message.text)
        .join(Conversation, Message.conversation_id == Conversation.id)
        .where(Message.id.in_(select(found.c.id)), Message.user_id == user_id, Conversation.deleted_at.is_(None))
        .order_by(Message.id.desc())
        .limit(most)
    )
    rows = session.execute(query, {"match": match, "user_id": user_id})
    return [
        Hit(conversation_id, title, message_id, role, at, _excerpt(body, words))
        for conversation_id, title, message_id, role, at, body in rows
    ]


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
    return Markup("{}{}{}{}").format(
        "…" if begin else "", shown, piece[end:], "…" if begin + len(piece) < len(body) else ""
    )
