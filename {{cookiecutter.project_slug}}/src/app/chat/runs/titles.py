"""Titles of conversations: the first line of the question, until the model has a better
one."""

import asyncio
import re
from functools import partial
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy import select

from app import jobs
from app.chat.models import Conversation, Message
from app.chat.runs.runner import RUNNER
from app.config import Settings
from app.database import reading, transaction
from app.text import clean_text

LONGEST_TITLE = 60  # characters
MOST_WORDS = 9
TITLE_SECONDS = 30
LONGEST_OUTPUT = 600  # characters of output after which the model is cut off
MOST_TOKENS = 2_000  # of one call; far more than a title needs
_PREFIX = re.compile(r"^\W*(?:title|titel|titre|título)\s*[:\uff1a]\s*", re.IGNORECASE)
# Whitespace, marks of Markdown, and quotation marks of several languages.
_DECORATION = " \t\"'`#*_.\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u300c\u300d"


def first_title(text: str) -> str:
    """A title until there is a better one: the beginning of the question's first
    line.
    """
    lines = text.strip().partition("\n")
    line = lines[0].strip()
    if len(line) <= LONGEST_TITLE:
        return line
    return f"{line[: LONGEST_TITLE - 1].rstrip()}…"


def usable_title(output: str) -> str | None:
    """The title in a model's output: one line of one to about eight words, or None."""
    text = clean_text(output).strip()
    text = _PREFIX.sub("", text).strip(_DECORATION)
    is_one_line = "\n" not in text
    words = text.split()
    is_short = len(text) <= LONGEST_TITLE and len(words) <= MOST_WORDS
    has_letters = any(character.isalnum() for character in text)
    is_plain = not any(character in text for character in "<>{}|")
    if is_one_line and is_short and has_letters and is_plain:
        return text
    return None


class TitleOutput:
    """Collects the text of a model's output; reasoning is left out."""

    def __init__(self) -> None:
        self.text = ""

    def begin_response(self) -> None:
        self.text = ""

    def add_text(self, text: str) -> None:
        self.text += text

    def add_reasoning(self, text: str) -> None:
        """Reasoning is not part of a title."""

    def text_was_reasoning(self) -> None:
        self.text = ""


@jobs.task()
def suggest(conversation_id: UUID) -> None:
    """Let the model name a conversation, unless its user has done so.

    Without a usable title the first line of the question stays; that is no failure.
    """
    messages = select(Message).where(Message.conversation_id == conversation_id)
    first_message = messages.order_by(Message.id).limit(1)
    with reading() as session:
        question = session.scalar(first_message)
    if question is None:
        return
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    title = usable_title(_output_for(app, question))
    if not title:
        return
    with transaction() as session:
        conversation = session.get(Conversation, conversation_id, with_for_update=True)
        # By the session, whose flush also forgets the cached list of conversations.
        if conversation and conversation.title == first_title(question.text):
            conversation.title = title


# Jobs that the release before has queued.
jobs.Job.registry["app.chat.background.suggest"] = suggest


def _output_for(app: Flask, question: Message) -> str:
    """What the model answers when asked for a title; empty if that fails."""
    from app.chat.model import failures

    output = TitleOutput()
    try:
        _ask(app, question, output)
    except Exception as error:  # whatever it is: a title is not worth a failed job
        failure = failures.failure_of(error)
        description = failures.described(error, app.extensions["settings"])
        app.logger.warning(
            "conversation %s keeps its first title: %s (%s)",
            question.conversation_id,
            failure,
            description,
        )
        return ""
    return output.text


def _ask(app: Flask, question: Message, output: TitleOutput) -> None:
    from app.chat.model import budget, call

    settings: Settings = app.extensions["settings"]
    call.instrument(app)
    price = partial(budget.price_of, settings.chosen_model)
    user_id = question.user_id
    meter = budget.Meter(app, user_id, price, LONGEST_OUTPUT, MOST_TOKENS)

    async def ask_in_time() -> None:
        async with asyncio.timeout(TITLE_SECONDS):
            await call.suggest_title(app, question.text, output, meter)

    meter.reserve()
    try:
        loop = RUNNER.of(app).loop
        loop.submit(ask_in_time()).result()
    finally:
        with transaction() as session:
            meter.settle(session)
