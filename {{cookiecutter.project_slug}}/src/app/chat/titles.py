"""Titles that the model makes of a conversation's first question, in the background."""

from __future__ import annotations

from uuid import UUID

from flask import current_app
from sqlalchemy import select, update

from app import jobs
from app.chat.models import Conversation, Message
from app.database import reading, transaction
from app.security.markdown import clean_text

TITLE_CHARS = 60
SECONDS = 30


def first_title(text: str) -> str:
    """A title until there is a better one: the beginning of the question's first line."""
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1].rstrip()}…"


@jobs.task(retries=1)
def suggest(conversation_id: UUID) -> None:
    """Let the model name a conversation, unless its user has done so."""
    from app.chat import asking

    first = select(Message.text).where(Message.conversation_id == conversation_id).order_by(Message.id).limit(1)
    with reading() as session:
        question = session.scalar(first)
    if question is None:
        return
    loop = current_app.extensions["runner"].loop
    title = loop.submit(asking.title_of(current_app._get_current_object(), question)).result(SECONDS)  # type: ignore[attr-defined]
    if not (title := first_title(clean_text(title).strip(" \t\n\"'#*"))):
        return
    untouched = Conversation.id == conversation_id, Conversation.title == first_title(question)
    with transaction() as session:
        session.execute(update(Conversation).where(*untouched).values(title=title))
