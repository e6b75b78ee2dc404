"""The routes of the chat. A form post is answered by a redirect, the same post by ``fetch`` with JSON."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID, uuid4

from flask import Blueprint, Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from app.chat import answer, event_log, history, runs, stale
from app.chat.forms import QuestionForm, TitleForm, accepted
from app.chat.models import Conversation, Message, Run
from app.config import current as settings
from app.database import db, now, transaction
from app.errors import Problem, wants_html

bp = Blueprint("chat", __name__)
Owned = TypeVar("Owned", Conversation, Message, Run)

PAGE_MESSAGES = 50
PAGE_CONVERSATIONS = 50
SHOWN = (selectinload(Message.run), selectinload(Message.tool_calls))


class Position(BaseModel):
    """The query of the event route."""

    model_config = ConfigDict(extra="forbid")
    after: int = Field(0, ge=0, le=10_000_000)


def own(model: type[Owned], row_id: UUID) -> Owned:
    """The signed-in user's row; anyone else's does not exist."""
    row = db.session.get(model, row_id)
    if row is None or row.user_id != current_user.id:
        abort(404)
    return row


def own_conversation(conversation_id: UUID) -> Conversation:
    conversation = own(Conversation, conversation_id)
    if conversation.deleted_at is not None:
        abort(404)
    return conversation


def _recent() -> list[Conversation]:
    query = select(Conversation).where(Conversation.user_id == current_user.id, Conversation.deleted_at.is_(None))
    return list(
        db.session.scalars(
            query.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(PAGE_CONVERSATIONS)
        )
    )


@bp.get("/chat")
def new() -> ResponseReturnValue:
    return _page(None, [])


@bp.get("/chat/<uuid:conversation_id>")
def conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    shown = history.path(db.session, conversation.head_id, PAGE_MESSAGES, *SHOWN)
    return _page(conversation, shown)


@bp.get("/chat/<uuid:conversation_id>/earlier/<uuid:message_id>")
def earlier(conversation_id: UUID, message_id: UUID) -> ResponseReturnValue:
    """The messages before one that is shown, as a piece of the page."""
    own_conversation(conversation_id)
    message = own(Message, message_id)
    if message.conversation_id != conversation_id:
        abort(404)
    shown = history.path(db.session, message.parent_id, PAGE_MESSAGES, *SHOWN)
    return render_template("chat/_messages.html", messages=shown, view=view_of, conversation_id=conversation_id)


def _page(conversation: Conversation | None, messages: list[Message]) -> str:
    if messages and messages[-1].run:
        _close_if_stale(messages[-1].run)
    return render_template(
        "chat/page.html",
        conversation=conversation,
        conversations=_recent(),
        messages=messages,
        view=view_of,
        run=messages[-1].run if messages else None,
        client_key=uuid4(),
        max_chars=settings().max_message_chars,
        demo=settings().chosen_model == "demo",
    )


def view_of(message: Message) -> dict[str, Any]:
    """What the page shows of a stored answer."""
    active = message.run is not None and message.run.active
    items, tail = answer.render_saved(message, active)
    footer = answer.render_footer(message.run) if message.run and not active else ""
    return {"items": items, "tail": tail, "footer": footer, "active": active}


@bp.post("/chat")
def start() -> ResponseReturnValue:
    form = accepted(QuestionForm())
    return _started(runs.ask(current_user.id, None, form.text.data, form.client_key.data))


@bp.post("/chat/<uuid:conversation_id>/messages")
def ask(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    form = accepted(QuestionForm())
    return _started(runs.ask(current_user.id, conversation, form.text.data, form.client_key.data))


@bp.post("/messages/<uuid:message_id>/regenerate")
def regenerate(message_id: UUID) -> ResponseReturnValue:
    message = own(Message, message_id)
    if message.role != "assistant":
        abort(404)
    return _started(runs.regenerate(own_conversation(message.conversation_id), message))


def _started(run: Run) -> ResponseReturnValue:
    url = url_for(".conversation", conversation_id=run.conversation_id)
    if wants_html():
        return redirect(url, 303)
    conversation = db.session.get_one(Conversation, run.conversation_id)
    answer = db.session.get_one(Message, run.answer_id)
    shown = [db.session.get_one(Message, answer.parent_id), answer]
    return {
        "url": url,
        "conversation": render_template("chat/_conversation_link.html", item=conversation, current=conversation),
        "messages": render_template("chat/_messages.html", messages=shown, view=view_of),
    }, 201


@bp.post("/chat/<uuid:conversation_id>/rename")
def rename(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    conversation.title = accepted(TitleForm()).title.data
    db.session.commit()
    return redirect(url_for(".conversation", conversation_id=conversation.id), 303)


@bp.post("/chat/<uuid:conversation_id>/delete")
def delete(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    conversation.deleted_at = now()
    if run := db.session.scalar(select(Run).where(Run.answer_id == conversation.head_id)):
        runs.stop(run)
    db.session.commit()
    flash(str(conversation.id), "deleted")
    return redirect(url_for(".new"), 303)


@bp.post("/chat/<uuid:conversation_id>/restore")
def restore(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own(Conversation, conversation_id)
    conversation.deleted_at = None
    db.session.commit()
    return redirect(url_for(".conversation", conversation_id=conversation.id), 303)


@bp.post("/runs/<uuid:run_id>/stop")
def stop(run_id: UUID) -> ResponseReturnValue:
    run = own(Run, run_id)
    runs.stop(run)
    if wants_html():
        return redirect(url_for(".conversation", conversation_id=run.conversation_id), 303)
    return {"status": "stopping"}, 202


@bp.get("/runs/<uuid:run_id>")
def run_status(run_id: UUID) -> ResponseReturnValue:
    """How a run stands, for a page whose stream has ended without saying."""
    run = own(Run, run_id)
    _close_if_stale(run)
    return {"status": run.status, "active": run.active}


def _close_if_stale(run: Run) -> None:
    if stale.is_stale(run):
        with transaction() as session:
            stale.close(session, run.conversation_id)
        db.session.rollback()  # the next query sees what the other transaction has written
        db.session.refresh(run)


@bp.get("/runs/<uuid:run_id>/events")
def run_events(run_id: UUID) -> ResponseReturnValue:
    """The run's events after ``?after=`` or ``Last-Event-ID``, the larger, until it ends."""
    run = own(Run, run_id)
    try:
        after = Position.model_validate(request.args.to_dict()).after
        after = max(after, Position(after=request.headers.get("Last-Event-ID") or 0).after)
    except ValidationError:
        raise Problem(422, "invalid", "`after` is an event's number.") from None
    try:
        body = current_app.extensions["streams"].follow(current_user.id, run.id, after, request.environ)
    except event_log.LogLostError:
        _close_if_stale(run)
        body = [_summary(run)]
    return Response(body, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _summary(run: Run) -> bytes:
    """The whole answer as saved, for a stream whose log is gone; a final run's terminal event follows."""
    message = db.session.get_one(Message, run.answer_id, options=SHOWN)
    shown = view_of(message)
    whole = event_log.frame(message.event_number, "whole", {"items": shown["items"], "tail": shown["tail"]})
    if run.active:
        return whole
    return whole + event_log.frame(message.event_number + 1, run.status, {"footer": shown["footer"]})
