"""The agent's tools. Each runs as the signed-in user and reads only what is theirs; it is yours to change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_ai import RunContext
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.chat.models import Conversation, Message, Run

MAX_RESULTS = 8
EXCERPT_CHARS = 300


@dataclass(frozen=True)
class Deps:
    """What tools may use: who asks, and a short read-only database session."""

    user_id: UUID
    session: Callable[[], AbstractContextManager[Session]]


def search_my_conversations(context: RunContext[Deps], words: str) -> list[dict[str, str]]:
    """Find earlier messages of the user that contain the given words.

    Args:
        words: Words to look for; every one must occur.
    """
    query = (
        select(Conversation.title, Message.role, Message.text, Message.created_at)
        .join(Conversation, Message.conversation_id == Conversation.id)
        .where(Message.user_id == context.deps.user_id, Conversation.deleted_at.is_(None))
        .where(*(Message.text.icontains(word, autoescape=True) for word in words.split()[:8]))
        .order_by(Message.id.desc())
        .limit(MAX_RESULTS)
    )
    with context.deps.session() as session:
        return [
            {"conversation": title, "by": role, "at": f"{at:%Y-%m-%d}", "text": text[:EXCERPT_CHARS]}
            for title, role, text, at in session.execute(query)
        ]


def my_usage(context: RunContext[Deps]) -> dict[str, int]:
    """How many conversations and answers the user has had, and how many tokens those took."""
    user_id = context.deps.user_id
    with context.deps.session() as session:
        conversations = session.scalar(
            select(func.count()).where(Conversation.user_id == user_id, Conversation.deleted_at.is_(None))
        )
        tokens = func.coalesce(func.sum(Run.input_tokens + Run.output_tokens), 0)
        answers, used = session.execute(select(func.count(), tokens).where(Run.user_id == user_id)).one()
    return {"conversations": conversations or 0, "answers": answers or 0, "tokens": used or 0}


TOOLS: list[Callable[..., Any]] = [search_my_conversations, my_usage]
