"""Starting, stopping and closing runs: what the views do and what the database must agree to."""

from __future__ import annotations

from uuid import UUID

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.attributes import set_committed_value

from app.chat import stale
from app.chat.models import Conversation, Message, Run, RunStatus
from app.chat.runner import Runner
from app.database import db, new_id, now
from app.errors import Problem
from app.observability import trace_id

TITLE_CHARS = 60


def runner() -> Runner:
    """The runner of the current application in this process."""
    runner: Runner = current_app.extensions["runner"]
    return runner


def ask(user_id: UUID, conversation: Conversation | None, text: str, client_key: str) -> Run:
    """Store a question and start the run that answers it; the same *client_key* again finds the same run.

    Raises:
        Problem: 409 when the conversation has an active run, 503 when this process cannot take another.
    """
    if run := _asked_before(user_id, client_key):
        return run
    runner().admit()
    if conversation is None:
        conversation = Conversation(id=new_id(), user_id=user_id, title=title_from(text))
        db.session.add(conversation)
        db.session.flush()
    question = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=user_id,
        parent_id=conversation.head_id,
        role="user",
        text=text,
        client_key=client_key,
    )
    db.session.add(question)
    return _start(conversation, question, client_key)


def regenerate(conversation: Conversation, answer: Message) -> Run:
    """Answer a question once more; the earlier answer stays, as a sibling of the new one."""
    runner().admit()
    question = db.session.get_one(Message, answer.parent_id)
    return _start(conversation, question, None)


def _start(conversation: Conversation, question: Message, client_key: str | None) -> Run:
    stale.close(db.session, conversation.id)
    answer = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        parent_id=question.id,
        role="assistant",
    )
    run = Run(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        answer_id=answer.id,
        worker=stale.this_worker(),
        trace_id=trace_id(),
    )
    conversation.head_id, conversation.updated_at = answer.id, now()
    try:
        db.session.flush()
        db.session.add(answer)
        db.session.flush()
        db.session.add(run)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if client_key and (run_before := _asked_before(conversation.user_id, client_key)):
            return run_before
        raise Problem(409, "conversation-busy", "An answer is still being written in this conversation.") from None
    set_committed_value(answer, "run", run)  # spares two queries when the answer is shown
    set_committed_value(answer, "tool_calls", [])
    runner().launch(run, question.id)
    return run


def _asked_before(user_id: UUID, client_key: str) -> Run | None:
    answer = select(Message.id).where(Message.user_id == user_id, Message.client_key == client_key)
    query = select(Run).join(Message, Run.answer_id == Message.id).where(Message.parent_id.in_(answer))
    return db.session.scalars(query.order_by(Run.id)).first()


def title_from(text: str) -> str:
    """A first title: the beginning of the question's first line."""
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1].rstrip()}…"


def stop(run: Run) -> None:
    """End the model call of a run, keeping what it has written, in whatever process it is."""
    if run.active:
        run.stop_requested = True
        stale.close(db.session, run.conversation_id)
        db.session.commit()
        runner().cancel(run.id, RunStatus.STOPPED)
