"""Starting, stopping and closing runs: what the views do and what the database must agree to."""

from __future__ import annotations

from uuid import UUID

from flask import current_app
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.attributes import set_committed_value

from app.chat import stale, telemetry, titles, usage
from app.chat.models import Conversation, Message, Run, RunStatus, ToolCall
from app.chat.runner import Runner
from app.config import current as settings
from app.database import db, new_id, now
from app.errors import Problem
from app.observability import tracing


def runner() -> Runner:
    """The runner of the current application in this process."""
    runner: Runner = current_app.extensions["runner"]
    return runner


def ask(
    user_id: UUID, conversation: Conversation | None, text: str, client_key: str, instead_of: Message | None = None
) -> Run:
    """Store a question and start the run that answers it; the same *client_key* again finds the same run.

    A question asked *instead_of* another becomes its sibling, and the other stays.

    Raises:
        Problem: 409 when the conversation has an active run, 429 when the user's budget of the day is spent, 503 when
            this process cannot take another.
    """
    if run := _asked_before(user_id, client_key):
        return run
    runner().admit()
    usage.admit(db.session, user_id, settings())
    if conversation is None:
        conversation = Conversation(id=new_id(), user_id=user_id, title=titles.first_title(text))
        db.session.add(conversation)
        db.session.flush()
        if settings().chosen_model != "demo":
            titles.suggest.enqueue(conversation.id)
    question = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=user_id,
        parent_id=instead_of.parent_id if instead_of else conversation.head_id,
        role="user",
        text=text,
        client_key=client_key,
    )
    db.session.add(question)
    return _start(conversation, question, client_key)


def regenerate(conversation: Conversation, answer: Message) -> Run:
    """Answer a question once more; the earlier answer stays, as a sibling of the new one."""
    runner().admit()
    usage.admit(db.session, conversation.user_id, settings())
    question = db.session.get_one(Message, answer.parent_id)
    return _start(conversation, question, None)


def _start(conversation: Conversation, question: Message, client_key: str | None) -> Run:
    answer = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        parent_id=question.id,
        role="assistant",
    )
    trace_id, span_id = tracing.current_ids()
    run = Run(
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        answer_id=answer.id,
        worker=stale.this_worker(),
        trace_id=trace_id,
        span_id=span_id,
    )
    conversation.head_id, conversation.updated_at = answer.id, now()
    try:
        stale.close(db.session, conversation.id)
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


def stop(run: Run) -> None:
    """End the model call of a run, keeping what it has written, in whatever process it is."""
    tracing.note("stop", run=run.id)
    db.session.refresh(run, with_for_update=True)  # an approval at the same moment comes before or after, not between
    if run.status == RunStatus.WAITING:
        run.status, run.finished_at = RunStatus.STOPPED, now()
        undecided = ToolCall.message_id == run.answer_id, ToolCall.finished_at.is_(None)
        telemetry.count(run)
        db.session.execute(update(ToolCall).where(*undecided).values(status="denied", finished_at=now()))
        db.session.commit()
    elif run.active:
        run.stop_requested = True
        stale.close(db.session, run.conversation_id)
        db.session.commit()
        runner().cancel(run.id, RunStatus.STOPPED)
