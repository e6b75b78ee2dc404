"""The agent's tools. Each runs as the signed-in user and reads only what is theirs; it is yours to change."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_ai import RunContext, Tool
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.chat import search
from app.chat.models import ACTIVE, Conversation, Run
from app.database import now

MAX_RESULTS = 8


@dataclass(frozen=True)
class Deps:
    """What tools may use: who asks, and short database sessions, one that only reads and one that writes."""

    user_id: UUID
    session: Callable[[], AbstractContextManager[Session]]
    transaction: Callable[[], AbstractContextManager[Session]]


def search_my_conversations(context: RunContext[Deps], words: str) -> list[dict[str, str]]:
    """Find earlier messages of the user that contain the given words.

    Args:
        words: Words to look for; every one must begin a word of the message.
    """
    with context.deps.session() as session:
        hits = search.find(session, context.deps.user_id, words, MAX_RESULTS)
    found = ((hit.title, hit.role, f"{hit.at:%Y-%m-%d}", hit.excerpt.striptags()) for hit in hits)
    return [{"conversation": title, "by": role, "at": at, "text": text} for title, role, at, text in found]


def my_usage(context: RunContext[Deps]) -> dict[str, int]:
    """How many conversations and answers the user has had, and how many tokens those took."""
    user_id = context.deps.user_id
    with context.deps.session() as session:
        kept = Conversation.user_id == user_id, Conversation.deleted_at.is_(None)
        conversations = session.scalar(select(func.count()).where(*kept))
        tokens = func.coalesce(func.sum(Run.input_tokens + Run.output_tokens), 0)
        answers, used = session.execute(select(func.count(), tokens).where(Run.user_id == user_id)).one()
    return {"conversations": conversations or 0, "answers": answers or 0, "tokens": used or 0}


def delete_conversation(context: RunContext[Deps], title: str) -> str:
    """Delete the user's newest conversation with this title. The user is asked for approval before it happens.

    Args:
        title: The whole title of the conversation.
    """
    answering = select(Run.conversation_id).where(Run.status.in_(ACTIVE))
    mine = Conversation.user_id == context.deps.user_id, Conversation.deleted_at.is_(None)
    named = Conversation.id.not_in(answering), func.lower(Conversation.title) == func.lower(title.strip())
    with context.deps.transaction() as session:
        found = session.scalars(select(Conversation).where(*mine, *named).order_by(Conversation.id.desc())).first()
        if found is None:
            return "There is no such conversation."
        found.deleted_at = now()
        return f"Deleted “{found.title}”."


# A tool that changes something asks first: the run waits until its user approves or denies the call.
TOOLS: list[Callable[..., Any] | Tool[Deps]] = [
    search_my_conversations,
    my_usage,
    Tool(delete_conversation, requires_approval=True),
]
