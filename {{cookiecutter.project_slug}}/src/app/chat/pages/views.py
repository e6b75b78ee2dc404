"""Routes of conversations and runs.

A form post is answered with a redirect, the same post by ``fetch`` with JSON.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.chat import message_tree, rendering, search
from app.chat.models import Conversation, Message, Run, RunStatus, StepStatus
from app.chat.pages import conversation_list, export
from app.chat.pages.forms import QuestionForm, TitleForm, accepted
from app.chat.runs import service, stale
from app.chat.streams import event_log
from app.chat.streams.sse import STREAMS
from app.database import db, now, transaction
from app.errors import wants_html
from app.observability import metrics, tracing
from app.security.bodies import query

bp = Blueprint("chat", __name__)
Owned = TypeVar("Owned", Conversation, Message, Run)

PAGE_MESSAGES = 50
LONGEST_FILE_NAME = 60


class EventsQuery(BaseModel, extra="forbid"):
    """The query string of the route of a run's events."""

    after: int = Field(0, ge=0, le=10_000_000)


class SearchQuery(BaseModel, extra="forbid"):
    """The query string of a search."""

    q: str = Field("", max_length=200)


class ExportQuery(BaseModel, extra="forbid"):
    """The query string of an export."""

    format: Literal["md", "json"] = "md"


@dataclass(frozen=True)
class ShownAnswer:
    """An answer as HTML. While it is active, its text has an open tail."""

    items: Sequence[Markup]
    tail: str
    footer: Markup
    active: bool


@dataclass(frozen=True)
class ShownMessages:
    """Messages and all that ``chat/_messages.html`` shows of them.

    ``answers`` are found by the id of the message. ``versions`` are the ids of all
    versions of a message that has several.
    """

    messages: Sequence[Message]
    answers: Mapping[UUID, ShownAnswer]
    versions: Mapping[UUID, list[UUID]]


def owned_row(model: type[Owned], row_id: UUID) -> Owned:
    """The signed-in user's row, or a 404, also for rows of other users."""
    row = db.session.get(model, row_id)
    if row is None or row.user_id != current_user.id:
        abort(404)
    return row


def owned_conversation(conversation_id: UUID) -> Conversation:
    """The signed-in user's conversation, or a 404, also if it is deleted."""
    conversation = owned_row(Conversation, conversation_id)
    if conversation.deleted_at is not None:
        abort(404)
    return conversation


@bp.get("/chat", endpoint="new")
def show_new_conversation() -> ResponseReturnValue:
    return _render_page(None, [])


@bp.get("/chat/search", endpoint="search")
def search_conversations() -> ResponseReturnValue:
    """The conversations list: the hits for ``?q=``, or without it the newest."""
    search_text = query(SearchQuery).q
    hits = search.find(db.session, current_user.id, search_text)
    if wants_html():
        return _render_page(None, [], search_text, hits)
    conversations = [] if search_text else conversation_list.recent(current_user.id)
    markup = render_template(
        "chat/_list.html", query=search_text, hits=hits, conversations=conversations
    )
    return {"list": markup}


@bp.get("/chat/<uuid:conversation_id>/export", endpoint="export")
def export_conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = owned_conversation(conversation_id)
    kind = query(ExportQuery).format
    tracing.note("export", conversation=conversation.id)
    metrics.add("app.exports", format=kind)
    text = export.export(db.session, conversation, kind)
    response = Response(text, mimetype=export.MIMETYPES[kind])
    name = quote(_file_name(conversation.title))
    disposition = f"attachment; filename*=UTF-8''{name}.{kind}"
    response.headers["Content-Disposition"] = disposition
    return response


def _file_name(title: str) -> str:
    name = re.sub(r"[^\w-]+", "-", title).strip("-")
    return name[:LONGEST_FILE_NAME] or "conversation"


@bp.get("/chat/<uuid:conversation_id>", endpoint="conversation")
def show_conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = owned_conversation(conversation_id)
    return _render_page(conversation, _path_to(conversation.head_id))


@bp.get("/chat/<uuid:conversation_id>/earlier/<uuid:message_id>", endpoint="earlier")
def show_earlier_messages(
    conversation_id: UUID, message_id: UUID
) -> ResponseReturnValue:
    """The messages before one that is shown, as a piece of the page."""
    owned_conversation(conversation_id)
    message = owned_row(Message, message_id)
    if message.conversation_id != conversation_id:
        abort(404)
    shown = _show(_path_to(message.parent_id))
    return render_template(
        "chat/_earlier.html", conversation_id=conversation_id, shown=shown
    )


def _path_to(head_id: UUID | None) -> list[Message]:
    return message_tree.path(db.session, head_id, PAGE_MESSAGES, *message_tree.SHOWN)


def _render_page(
    conversation: Conversation | None,
    messages: Sequence[Message],
    search_text: str = "",
    hits: Sequence[search.Hit] = (),
) -> str:
    run = messages[-1].run if messages else None
    if run is not None:
        _close_if_stale(run)
    conversations = conversation_list.recent(current_user.id)
    shown = _show(messages)
    return render_template(
        "chat/page.html",
        conversation=conversation,
        conversations=conversations,
        query=search_text,
        hits=hits,
        run=run,
        client_key=uuid4(),
        shown=shown,
    )


def _show(messages: Sequence[Message]) -> ShownMessages:
    answers = {}
    for message in messages:
        if message.role == "assistant":
            answers[message.id] = _show_answer(message)
    versions = message_tree.versions(db.session, messages)
    return ShownMessages(messages, answers, versions)


def _show_answer(message: Message) -> ShownAnswer:
    run = message.run
    active = run is not None and run.status == RunStatus.RUNNING
    rendered = rendering.render_saved(message, active)
    footer = Markup()
    if run is not None and not active:
        steps = message.tool_calls
        undecided = [step for step in steps if step.status == StepStatus.WAITING]
        footer = rendering.render_footer(run, undecided, generate_csrf())
    return ShownAnswer(rendered.items, rendered.tail, footer, active)


def _render_messages(messages: Sequence[Message]) -> str:
    return render_template("chat/_messages.html", shown=_show(messages))


def answer_now(run: Run) -> ResponseReturnValue:
    """The answer of a run as it is now, for a page that shows it already."""
    if wants_html():
        return _redirect_to(run.conversation_id)
    answer = db.session.get_one(
        Message, run.answer_id, options=message_tree.SHOWN, populate_existing=True
    )
    return {"messages": _render_messages([answer])}


def started(run: Run) -> ResponseReturnValue:
    """A new run: the address of its conversation, and what is new on the page."""
    if wants_html():
        return _redirect_to(run.conversation_id)
    conversation = db.session.get_one(Conversation, run.conversation_id)
    answer = db.session.get_one(Message, run.answer_id)
    question = db.session.get_one(Message, answer.parent_id)
    link = render_template(
        "chat/_conversation_link.html", item=conversation, current=conversation
    )
    body = {
        "url": url_for("chat.conversation", conversation_id=conversation.id),
        "conversation": link,
        "messages": _render_messages([question, answer]),
    }
    return body, 201


def _redirect_to(conversation_id: UUID) -> ResponseReturnValue:
    url = url_for("chat.conversation", conversation_id=conversation_id)
    return redirect(url, 303)


def ask_as_sent(
    conversation: Conversation | None, instead_of: Message | None = None
) -> ResponseReturnValue:
    """Ask the question that the form has, in a new conversation if there is none."""
    form = accepted(QuestionForm())
    text = form.text.data
    client_key = form.client_key.data
    run = service.ask(current_user.id, conversation, text, client_key, instead_of)
    return started(run)


@bp.post("/chat", endpoint="start")
def start_conversation() -> ResponseReturnValue:
    return ask_as_sent(None)


@bp.post("/chat/<uuid:conversation_id>/messages", endpoint="ask")
def ask_question(conversation_id: UUID) -> ResponseReturnValue:
    return ask_as_sent(owned_conversation(conversation_id))


@bp.post("/chat/<uuid:conversation_id>/rename", endpoint="rename")
def rename_conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = owned_conversation(conversation_id)
    conversation.title = accepted(TitleForm()).title.data
    db.session.commit()
    return _redirect_to(conversation.id)


@bp.post("/chat/<uuid:conversation_id>/delete", endpoint="delete")
def delete_conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = owned_conversation(conversation_id)
    conversation.deleted_at = now()
    run = last_run_of(conversation)
    if run is not None:
        service.stop(run)
    db.session.commit()
    flash(str(conversation.id), "deleted")
    return redirect(url_for("chat.new"), 303)


@bp.post("/chat/<uuid:conversation_id>/restore", endpoint="restore")
def restore_conversation(conversation_id: UUID) -> ResponseReturnValue:
    conversation = owned_row(Conversation, conversation_id)
    conversation.deleted_at = None
    db.session.commit()
    return _redirect_to(conversation.id)


def last_run_of(conversation: Conversation) -> Run | None:
    """The run whose answer ends the path that is shown."""
    statement = select(Run).where(Run.answer_id == conversation.head_id)
    return db.session.scalar(statement)


@bp.post("/runs/<uuid:run_id>/stop", endpoint="stop")
def stop_run(run_id: UUID) -> ResponseReturnValue:
    run = owned_row(Run, run_id)
    service.stop(run)
    if run.active and not wants_html():
        return {"status": "stopping"}, 202
    return answer_now(run)


@bp.get("/runs/<uuid:run_id>", endpoint="run_status")
def show_run_status(run_id: UUID) -> ResponseReturnValue:
    """The state of a run, for a page whose stream ended without an end of the run."""
    run = owned_row(Run, run_id)
    _close_if_stale(run)
    return {"status": run.status, "active": run.active}


def _close_if_stale(run: Run) -> None:
    if not stale.is_stale(run):
        return
    with transaction() as session:
        stale.close_stale(session, run.conversation_id)
    db.session.rollback()  # so that the next query sees the other transaction
    db.session.refresh(run)


@bp.post("/runs/<uuid:run_id>/seen", endpoint="seen")
def mark_run_as_seen(run_id: UUID) -> ResponseReturnValue:
    """Someone has seen the end of the run, so no device needs a notification."""
    run = owned_row(Run, run_id)
    run.seen_at = now()
    db.session.commit()
    return "", 204


@bp.get("/runs/<uuid:run_id>/events", endpoint="run_events")
def follow_run(run_id: UUID) -> ResponseReturnValue:
    """The run's events until it ends.

    They begin after the number in ``?after=`` or ``Last-Event-ID``, the larger one.
    """
    run = owned_row(Run, run_id)
    after_in_url = query(EventsQuery).after
    last_event_id = request.headers.get("Last-Event-ID") or 0
    after_in_header = query(EventsQuery, {"after": last_event_id}).after
    after = max(after_in_url, after_in_header)
    tracing.link(run.trace_id, run.span_id)
    _close_if_stale(run)
    body: Iterable[bytes]
    try:
        body = STREAMS.current().follow(current_user.id, run, after, request.environ)
    except event_log.LogLostError:
        body = [_whole_answer(run)]
    response = Response(body, mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"  # proxies pass each event on at once
    return response


def _whole_answer(run: Run) -> bytes:
    """The answer as saved, for a stream whose log is gone, and the end of the run."""
    message = db.session.get_one(Message, run.answer_id, options=message_tree.SHOWN)
    shown = _show_answer(message)
    number = message.event_number
    content = {"items": shown.items, "tail": shown.tail}
    whole = event_log.frame(number, "whole", content)
    if run.status == RunStatus.RUNNING:
        return whole + event_log.ASK_AGAIN
    ending = event_log.frame(number + 1, run.status, {"footer": shown.footer})
    return whole + ending
