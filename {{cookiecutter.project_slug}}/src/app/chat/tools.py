"""The agent's tools. Change them as you like.

Each tool runs as the signed-in user and reads only that user's data.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
    """What tools may use: the id of the user who asks, and database sessions.

    ``session`` opens a short session that only reads, ``transaction`` one that writes.
    """

    user_id: UUID
    session: Callable[[], AbstractContextManager[Session]]
    transaction: Callable[[], AbstractContextManager[Session]]


def search_my_conversations(
    context: RunContext[Deps], words: str
) -> list[dict[str, str]]:
    """Find earlier messages of the user that contain the given words.

    Args:
        words: Words to look for; every one must begin a word of the message.
    """
    with context.deps.session() as session:
        hits = search.find(session, context.deps.user_id, words, MAX_RESULTS)
    messages = []
    for hit in hits:
        message = {
            "conversation": hit.title,
            "by": hit.role,
            "at": f"{hit.at:%Y-%m-%d}",
            "text": hit.excerpt.striptags(),
        }
        messages.append(message)
    return messages


def my_usage(context: RunContext[Deps]) -> dict[str, int]:
    """How many conversations and answers the user has had, and their tokens."""
    user_id = context.deps.user_id
    conversations = select(func.count()).where(Conversation.user_id == user_id)
    conversations = conversations.where(Conversation.deleted_at.is_(None))
    answers = select(func.count()).where(Run.user_id == user_id)
    tokens = select(func.sum(Run.input_tokens + Run.output_tokens))
    tokens = tokens.where(Run.user_id == user_id)
    usage = {}
    with context.deps.session() as session:
        usage["conversations"] = session.scalar(conversations) or 0
        usage["answers"] = session.scalar(answers) or 0
        usage["tokens"] = session.scalar(tokens) or 0
    return usage


def delete_conversation(context: RunContext[Deps], title: str) -> str:
    """Delete the user's newest conversation with this title.

    The user is asked for approval first.

    Args:
        title: The whole title of the conversation.
    """
    being_answered = select(Run.conversation_id).where(Run.status.in_(ACTIVE))
    lower_title = func.lower(title.strip())
    user_id = context.deps.user_id
    matching = select(Conversation).where(Conversation.user_id == user_id)
    matching = matching.where(Conversation.deleted_at.is_(None))
    matching = matching.where(Conversation.id.not_in(being_answered))
    matching = matching.where(func.lower(Conversation.title) == lower_title)
    newest_first = matching.order_by(Conversation.id.desc())
    with context.deps.transaction() as session:
        conversation = session.scalars(newest_first).first()
        if conversation is None:
            return "There is no such conversation."
        conversation.deleted_at = now()
        return f"Deleted “{conversation.title}”."


# A tool that changes something needs approval: the run waits until the user approves
# or denies the call.
TOOLS: list[Callable[..., object] | Tool[Deps]] = [
    search_my_conversations,
    my_usage,
    Tool(delete_conversation, requires_approval=True),
]
