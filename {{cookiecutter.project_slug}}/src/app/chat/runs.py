"""Starting and stopping runs, deciding on what they ask for, and closing those whose process is gone: what the views
do, and what the database must agree to."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

from flask import Flask, abort, current_app
from sqlalchemy import exc, orm, select, update

from app.chat import background, live, usage
from app.chat.models import Approval, Conversation, Message, Run, RunStatus, ToolCall
from app.chat.runner import Runner
from app.config import settings
from app.database import db, new_id, now, reading, transaction
from app.errors import Problem
from app.observability import tracing


def runner() -> Runner:
    """The runner of the current application in this process."""
    return cast("Runner", current_app.extensions["runner"])


def ask(
    user_id: UUID, conversation: Conversation | None, text: str, key: str, instead_of: Message | None = None
) -> Run:
    """Store a question and start the run that answers it; the same client's *key* again finds the same run.

    A question asked *instead_of* another becomes its sibling, and the other stays.

    Raises:
        Problem: 409 when the conversation has an active run, 429 when the user's budget of the day is spent, 503 when
            this process cannot take another.
    """
    if run := _asked_before(user_id, key):
        return run
    runner().admit()
    usage.admit(db.session, user_id, settings())
    if conversation is None:
        conversation = Conversation(id=new_id(), user_id=user_id, title=background.first_title(text))
        db.session.add(conversation)
        db.session.flush()
        if settings().chosen_model != "demo":
            background.suggest.enqueue(conversation.id)
    parent_id = instead_of.parent_id if instead_of else conversation.head_id
    question = Message(id=new_id(), parent_id=parent_id, role="user", text=text, client_key=key)
    question.conversation_id, question.user_id = conversation.id, user_id
    db.session.add(question)
    return _start(conversation, question, key)


def regenerate(conversation: Conversation, answer: Message) -> Run:
    """Answer a question once more; the earlier answer stays, as a sibling of the new one."""
    runner().admit()
    usage.admit(db.session, conversation.user_id, settings())
    return _start(conversation, db.session.get_one(Message, answer.parent_id), None)


def _start(conversation: Conversation, question: Message, client_key: str | None) -> Run:
    mine = {"conversation_id": conversation.id, "user_id": conversation.user_id}
    answer = Message(id=new_id(), parent_id=question.id, role="assistant", **mine)
    run = Run(answer_id=answer.id, worker=this_worker(), **mine)
    run.trace_id, run.span_id = tracing.current_ids()
    conversation.head_id, conversation.updated_at = answer.id, now()
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
        if client_key and (run_before := _asked_before(conversation.user_id, client_key)):
            return run_before
        raise Problem(409, "conversation-busy", "An answer is still being written in this conversation.") from None
    for name, value in {"run": run, "tool_calls": [], "feedback": None}.items():
        orm.attributes.set_committed_value(answer, name, value)  # spares queries when the answer is shown
    db.session.info["started"] = conversation, question, answer  # else the session forgets them before that
    runner().launch(run, question)
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
        live.count(run)
        db.session.execute(update(ToolCall).where(*undecided).values(status="denied", finished_at=now()))
        db.session.commit()
    elif run.active:
        run.stop_requested = True
        close_stale(db.session, run.conversation_id)
        db.session.commit()
        runner().cancel(run.id, RunStatus.STOPPED)


STALE_AFTER = timedelta(seconds=20)  # without a heartbeat, which comes every 5 seconds at the latest
HOST = socket.gethostname()
TOKEN = uuid4().hex[:8]


def this_worker() -> str:
    """This process, named so that another one on the same host can see when it has ended."""
    return f"{HOST}/{os.getpid()}/{TOKEN}"


def is_stale(run: Run) -> bool:
    """Whether the process of a run is gone. A waiting run needs none."""
    return run.status == RunStatus.RUNNING and (now() - run.heartbeat_at > STALE_AFTER or _has_ended(run.worker))


def close_stale(session: orm.Session, conversation_id: UUID | None = None) -> None:
    """Close stale runs, of one conversation or of all, in a transaction of the caller's."""
    # Locked, since the process that is taken for dead may be saving the answer just now.
    query = select(Run).where(Run.status == RunStatus.RUNNING).with_for_update()
    if conversation_id:
        query = query.where(Run.conversation_id == conversation_id)
    for run in session.scalars(query):
        if is_stale(run):
            run.status, run.finished_at = RunStatus.INTERRUPTED, now()
            live.count(run)


def over(app: Flask, run_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these runs are over, after closing the stale ones."""
    with app.app_context(), reading() as session:
        runs = session.scalars(select(Run).where(Run.id.in_(run_ids))).all()
    for run in filter(is_stale, runs):
        with app.app_context(), transaction() as session:
            close_stale(session, run.conversation_id)
    return [run.id for run in runs if run.status != RunStatus.RUNNING or is_stale(run)]


def close_all_stale(app: Flask) -> None:
    """Close all stale runs when a process starts; without a usable database that is left to whoever opens them."""
    try:
        with app.app_context(), transaction() as session:
            close_stale(session)
    except exc.SQLAlchemyError as error:
        app.logger.warning("stale runs could not be looked for: %s", type(error).__name__)


def _has_ended(worker: str) -> bool:
    """Whether a worker is known to have ended; one on another host, or alive, is judged by its heartbeat."""
    host, pid, _ = worker.rsplit("/", 2)
    if host != HOST or worker == this_worker():
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except OSError:  # someone else's process, or a system without /proc
        return False
    return state == "Z"  # killed, and not yet collected by its parent


def decide(user_id: UUID, call_id: UUID, approved: bool, reason: str) -> Run:
    """Approve or deny a call of the user's own run.

    Raises:
        Problem: 409 when it does not wait any more, 503 when this process cannot take a run.
        NotFound: when there is no such call, or it is someone else's.
    """
    runner().admit()
    mine = select(ToolCall, Run).join(Run, Run.answer_id == ToolCall.message_id).where(Run.user_id == user_id)
    # The run is locked, as by whoever saves or stops it: of two decisions at once, the second sees what the first has
    # made of the call.
    found = db.session.execute(mine.where(ToolCall.id == call_id).with_for_update(of=Run)).one_or_none()
    if found is None:
        abort(404)
    call, run = found
    db.session.refresh(call)
    if run.status != RunStatus.WAITING or call.status != "waiting":
        db.session.rollback()
        raise Problem(409, "already-decided", "This has been decided already, or the answer has been stopped.")
    call.status = "approved" if approved else "denied"
    verdict = {"approved": approved, "reason": reason or None, "decided_by": user_id}
    db.session.add(Approval(tool_call_id=call.id, requested_at=call.started_at, decided_at=now(), **verdict))
    db.session.flush()
    rest = select(ToolCall.id).where(ToolCall.message_id == call.message_id, ToolCall.status == "waiting")
    if db.session.scalars(rest).first() is not None:
        db.session.commit()
        return run
    run.status, run.worker, run.heartbeat_at = RunStatus.RUNNING, this_worker(), now()
    answer = db.session.get_one(Message, run.answer_id)
    question = db.session.get_one(Message, answer.parent_id)
    answer.event_number += 1  # the event `waiting` has been sent
    db.session.commit()
    runner().launch(run, question, answer)
    return run
