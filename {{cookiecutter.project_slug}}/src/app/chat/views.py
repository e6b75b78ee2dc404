"""The routes of the chat. A form post is answered by a redirect, the same post by ``fetch`` with JSON."""

import re
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from flask import Blueprint, Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import generate_csrf
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.chat import answer, event_log, export, history, runs, search
from app.chat.forms import QuestionForm, TitleForm, accepted
from app.chat.models import Conversation, Message, Run, RunStatus
from app.database import db, now, transaction
from app.errors import wants_html
from app.observability import metrics, tracing
from app.security.bodies import query

bp = Blueprint("chat", __name__)
Owned = TypeVar("Owned", Conversation, Message, Run)

PAGE_MESSAGES = 50


class Position(BaseModel, extra="forbid"):
    """The query of the event route."""

    after: int = Field(0, ge=0, le=10_000_000)


class Search(BaseModel, extra="forbid"):
    q: str = Field("", max_length=200)


class Format(BaseModel, extra="forbid"):
    format: Literal["md", "json"] = "md"


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


@bp.get("/chat")
def new() -> ResponseReturnValue:
    return _page(None, [])


@bp.get("/chat/search", endpoint="search")
def find() -> ResponseReturnValue:
    """The conversations list: what was found for ``?q=``, or without it the newest."""
    wanted = query(Search)
    hits = search.find(db.session, current_user.id, wanted.q)
    if wants_html():
        return _page(None, [], query=wanted.q, hits=hits)
    conversations = [] if wanted.q else search.recent(current_user.id)
    return {"list": render_template("chat/_list.html", query=wanted.q, hits=hits, conversations=conversations)}


@bp.get("/chat/<uuid:conversation_id>/export", endpoint="export")
def export_file(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    kind = query(Format).format
    tracing.note("export", conversation=conversation.id)
    metrics.add("app.exports", format=kind)
    name = re.sub(r"[^\w-]+", "-", conversation.title).strip("-")[:60] or "conversation"
    response = Response(export.export(db.session, conversation, kind), mimetype=export.MIMETYPES[kind])
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.{kind}"
    return response


@bp.get("/chat/<uuid:conversation_id>")
def conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = own_conversation(conversation_id)
    return _page(conversation, history.path(db.session, conversation.head_id, PAGE_MESSAGES, *history.SHOWN))


@bp.get("/chat/<uuid:conversation_id>/earlier/<uuid:message_id>")
def earlier(conversation_id: UUID, message_id: UUID) -> ResponseReturnValue:
    """The messages before one that is shown, as a piece of the page."""
    own_conversation(conversation_id)
    message = own(Message, message_id)
    if message.conversation_id != conversation_id:
        abort(404)
    shown = history.path(db.session, message.parent_id, PAGE_MESSAGES, *history.SHOWN)
    return render_template("chat/_earlier.html", conversation_id=conversation_id, **_shown(shown))


def _page(conversation: Conversation | None, messages: list[Message], **found: Any) -> str:
    if run := messages[-1].run if messages else None:
        _close_if_stale(run)
    listed = {"conversation": conversation, "conversations": search.recent(current_user.id)} | found
    return render_template("chat/page.html", run=run, client_key=uuid4(), **listed, **_shown(messages))


def _shown(messages: list[Message]) -> dict[str, Any]:
    return {"messages": messages, "view": view_of, "versions": history.versions(db.session, messages)}


def answer_now(run: Run) -> ResponseReturnValue:
    """An answer as it is now, for the page that shows it already."""
    if wants_html():
        return redirect(url_for("chat.conversation", conversation_id=run.conversation_id), 303)
    message = db.session.get_one(Message, run.answer_id, options=history.SHOWN, populate_existing=True)
    return {"messages": render_template("chat/_messages.html", **_shown([message]))}


def view_of(message: Message) -> dict[str, Any]:
    """What the page shows of a stored answer."""
    run = message.run
    active = run is not None and run.status == RunStatus.RUNNING
    items, tail = answer.render_saved(message, active)
    undecided = [call for call in message.tool_calls if call.status == "waiting"]
    footer = answer.render_footer(run, undecided, generate_csrf()) if run and not active else ""
    return {"items": items, "tail": tail, "footer": footer, "active": active}


@bp.post("/chat")
def start() -> ResponseReturnValue:
    form = accepted(QuestionForm())
    return started(runs.ask(current_user.id, None, form.text.data, form.client_key.data))


@bp.post("/chat/<uuid:conversation_id>/messages")
def ask(conversation_id: UUID) -> ResponseReturnValue:
    conversation, form = own_conversation(conversation_id), accepted(QuestionForm())
    return started(runs.ask(current_user.id, conversation, form.text.data, form.client_key.data))


def started(run: Run) -> ResponseReturnValue:
    """A run has begun: where it is, and what is new in the page."""
    url = url_for(".conversation", conversation_id=run.conversation_id)
    if wants_html():
        return redirect(url, 303)
    conversation = db.session.get_one(Conversation, run.conversation_id)
    answer = db.session.get_one(Message, run.answer_id)
    shown = [db.session.get_one(Message, answer.parent_id), answer]
    link = render_template("chat/_conversation_link.html", item=conversation, current=conversation)
    return {"url": url, "conversation": link, "messages": render_template("chat/_messages.html", **_shown(shown))}, 201


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
    return ({"status": "stopping"}, 202) if run.active else answer_now(run)


@bp.get("/runs/<uuid:run_id>")
def run_status(run_id: UUID) -> ResponseReturnValue:
    """How a run stands, for a page whose stream has ended without saying."""
    run = own(Run, run_id)
    _close_if_stale(run)
    return {"status": run.status, "active": run.active}


def _close_if_stale(run: Run) -> None:
    if runs.is_stale(run):
        with transaction() as session:
            runs.close_stale(session, run.conversation_id)
        db.session.rollback()  # the next query sees what the other transaction has written
        db.session.refresh(run)


@bp.post("/runs/<uuid:run_id>/seen")
def seen(run_id: UUID) -> ResponseReturnValue:
    """The run's end was shown to someone who looked: no device needs to be told."""
    own(Run, run_id).seen_at = now()
    db.session.commit()
    return "", 204


@bp.get("/runs/<uuid:run_id>/events")
def run_events(run_id: UUID) -> ResponseReturnValue:
    """The run's events after ``?after=`` or ``Last-Event-ID``, the larger, until it ends."""
    run = own(Run, run_id)
    after = max(query(Position).after, query(Position, {"after": request.headers.get("Last-Event-ID") or 0}).after)
    tracing.link(run.trace_id, run.span_id)
    try:
        _close_if_stale(run)
        body = current_app.extensions["streams"].follow(current_user.id, run, after, request.environ)
    except event_log.LogLostError:
        body = [_summary(run)]
    return Response(body, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _summary(run: Run) -> bytes:
    """The whole answer as saved, for a stream whose log is gone; a final run's terminal event follows."""
    message = db.session.get_one(Message, run.answer_id, options=history.SHOWN)
    shown = view_of(message)
    whole = event_log.frame(message.event_number, "whole", {"items": shown["items"], "tail": shown["tail"]})
    if run.status == RunStatus.RUNNING:
        return whole + event_log.ASK_AGAIN
    return whole + event_log.frame(message.event_number + 1, run.status, {"footer": shown["footer"]})
