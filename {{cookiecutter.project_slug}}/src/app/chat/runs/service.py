"""What pages call: ask, answer again, stop, decide. Each agrees with the database
first.
"""

from uuid import UUID

from flask import abort
from sqlalchemy import exc, select
from sqlalchemy.orm.attributes import set_committed_value

from app.chat.model import budget
from app.chat.models import Conversation, Message, Run, RunStatus, StepStatus, ToolCall
from app.chat.runs import state, titles
from app.chat.runs.runner import RUNNER
from app.chat.runs.stale import close_stale, this_worker
from app.config import settings
from app.database import db, new_id, now
from app.errors import Problem
from app.observability import tracing


def ask(
    user_id: UUID,
    conversation: Conversation | None,
    text: str,
    client_key: str,
    instead_of: Message | None = None,
) -> Run:
    """Store a question and start the run that answers it.

    The same *client_key* again finds the same run. A question asked *instead_of*
    another becomes its sibling, and the other stays.

    Raises:
        Problem: 409 when the conversation has an active run, 429 when the user's budget
            of the day is spent, 503 when this process cannot take another run.
    """
    if run := _run_of_key(user_id, client_key):
        return run
    _admit(user_id)
    if conversation is None:
        conversation = _new_conversation(user_id, text)
    parent_id = conversation.head_id
    if instead_of:
        parent_id = instead_of.parent_id
    question = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=user_id,
        parent_id=parent_id,
        role="user",
        text=text,
        client_key=client_key,
    )
    db.session.add(question)
    return _start(conversation, question, client_key)


def regenerate(
    conversation: Conversation, answer: Message, client_key: str | None = None
) -> Run:
    """Answer a question again; the earlier answer stays, as a sibling of the new one.

    Raises:
        Problem: as of ``ask``.
    """
    _admit(conversation.user_id)
    question = db.session.get_one(Message, answer.parent_id)
    return _start(conversation, question, client_key)


def _admit(user_id: UUID) -> None:
    RUNNER.current().admit()
    budget.admit(db.session, user_id, settings())


def _new_conversation(user_id: UUID, text: str) -> Conversation:
    title = titles.first_title(text)
    conversation = Conversation(id=new_id(), user_id=user_id, title=title)
    db.session.add(conversation)
    db.session.flush()
    if settings().chosen_model != "demo":
        titles.suggest.enqueue(conversation.id)
    return conversation


def _start(
    conversation: Conversation, question: Message, client_key: str | None
) -> Run:
    answer = Message(
        id=new_id(),
        conversation_id=conversation.id,
        user_id=conversation.user_id,
        parent_id=question.id,
        role="assistant",
    )
    run = state.start(conversation, answer, this_worker())
    conversation.head_id = answer.id
    conversation.updated_at = now()
    try:
        if question.parent_id:
            close_stale(db.session, conversation.id)
        db.session.flush()
        db.session.add(answer)
        db.session.flush()
        db.session.add(run)
        db.session.commit()
    except exc.IntegrityError:
        db.session.rollback()
        if client_key:
            run_before = _run_of_key(conversation.user_id, client_key)
            if run_before:
                return run_before
        raise conversation_busy() from None
    _remember_relations(answer, run)
    # Without a reference the session forgets them before the page shows them.
    db.session.info["started"] = (conversation, question, answer)
    RUNNER.current().launch(run, question)
    return run


def conversation_busy() -> Problem:
    """The problem of asking for an answer while another one is being written."""
    detail = "An answer is still being written in this conversation."
    return Problem(409, "conversation-busy", detail)


def _remember_relations(answer: Message, run: Run) -> None:
    """Spare the queries for what a new answer does not have."""
    set_committed_value(answer, "run", run)
    set_committed_value(answer, "tool_calls", [])
    set_committed_value(answer, "feedback", None)


def _run_of_key(user_id: UUID, client_key: str) -> Run | None:
    questions = select(Message.id).where(Message.user_id == user_id)
    questions = questions.where(Message.client_key == client_key)
    runs = select(Run)
    runs = runs.join(Message, Run.answer_id == Message.id)
    runs = runs.where(Message.parent_id.in_(questions))
    runs = runs.order_by(Run.id)
    return db.session.scalars(runs).first()


def stop(run: Run) -> None:
    """End the model call of a run in whatever process it is, keeping what it has
    written.
    """
    tracing.note("stop", run=run.id)
    # Locked: an approval at the same moment comes before or after, not between.
    db.session.refresh(run, with_for_update=True)
    if run.status == RunStatus.WAITING:
        state.stop_waiting(db.session, run)
        db.session.commit()
    elif run.active:
        state.request_stop(run)
        close_stale(db.session, run.conversation_id)
        db.session.commit()
        RUNNER.current().cancel(run.id, RunStatus.STOPPED)


def decide(user_id: UUID, tool_call_id: UUID, approved: bool, reason: str) -> Run:
    """Approve or deny a call of the user's own run; the last decision lets it go on.

    Raises:
        Problem: 409 when the call does not wait any more, 503 when this process cannot
            take a run.
        NotFound: when there is no such call, or it is someone else's.
    """
    RUNNER.current().admit()
    # The run is locked, as by everything that saves or stops it: of two decisions at
    # once, the second sees what the first has made of the call.
    calls = select(ToolCall, Run)
    calls = calls.join(Run, Run.answer_id == ToolCall.message_id)
    calls = calls.where(Run.user_id == user_id, ToolCall.id == tool_call_id)
    locked = calls.with_for_update(of=Run)
    call_with_run = db.session.execute(locked).one_or_none()
    if call_with_run is None:
        abort(404)
    call, run = call_with_run
    db.session.refresh(call)
    if run.status != RunStatus.WAITING or call.status != StepStatus.WAITING:
        db.session.rollback()
        raise Problem(
            409,
            "already-decided",
            "This has been decided already, or the answer has been stopped.",
        )
    state.decide(db.session, call, approved, reason, user_id)
    db.session.flush()
    undecided = select(ToolCall.id).where(ToolCall.message_id == call.message_id)
    undecided = undecided.where(ToolCall.status == StepStatus.WAITING)
    if db.session.scalars(undecided).first() is None:
        _go_on(run)
    else:
        db.session.commit()
    return run


def _go_on(run: Run) -> None:
    """Let a run whose calls are all decided go on in this process."""
    state.resume(run, this_worker())
    answer = db.session.get_one(Message, run.answer_id)
    question = db.session.get_one(Message, answer.parent_id)
    answer.event_number += 1  # the event `waiting` has been sent
    db.session.commit()
    RUNNER.current().launch(run, question, answer)
