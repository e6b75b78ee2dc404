"""Routes of single messages: versions, feedback, the source, decisions on calls."""

from uuid import UUID

from flask import Response, abort, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import delete

from app.chat import message_tree
from app.chat.models import Feedback, Message
from app.chat.pages.forms import DecisionForm, FeedbackForm, accepted
from app.chat.pages.views import (
    answer_now,
    ask_as_sent,
    bp,
    last_run_of,
    owned_conversation,
    owned_row,
    started,
)
from app.chat.runs import service
from app.database import db
from app.errors import wants_html
from app.observability import metrics

# The blueprint of views.py, with the routes of this module added.
__all__ = ["bp"]


def _owned_message(message_id: UUID, role: str) -> Message:
    message = owned_row(Message, message_id)
    if message.role != role:
        abort(404)
    return message


def _url_of(message: Message) -> str:
    return url_for(
        "chat.conversation",
        conversation_id=message.conversation_id,
        _anchor=f"m{message.id}",
    )


@bp.post("/messages/<uuid:message_id>/regenerate", endpoint="regenerate")
def regenerate_answer(message_id: UUID) -> ResponseReturnValue:
    answer = _owned_message(message_id, "assistant")
    conversation = owned_conversation(answer.conversation_id)
    return started(service.regenerate(conversation, answer))


@bp.post("/messages/<uuid:message_id>/edit", endpoint="edit")
def edit_question(message_id: UUID) -> ResponseReturnValue:
    """Ask another question in place of this one, which stays as a version."""
    question = _owned_message(message_id, "user")
    conversation = owned_conversation(question.conversation_id)
    return ask_as_sent(conversation, instead_of=question)


@bp.post("/messages/<uuid:message_id>/show", endpoint="show_version")
def show_version(message_id: UUID) -> ResponseReturnValue:
    """Show a version of a message, with the latest messages that followed it."""
    message = owned_row(Message, message_id)
    conversation = owned_conversation(message.conversation_id)
    run = last_run_of(conversation)
    if run is not None and run.active:
        raise service.conversation_busy()
    conversation.head_id = message_tree.end_of(db.session, message)
    db.session.commit()
    url = _url_of(message)
    if wants_html():
        return redirect(url, 303)
    return {"url": url}


@bp.get("/messages/<uuid:message_id>/source", endpoint="source")
def show_source(message_id: UUID) -> ResponseReturnValue:
    """The text of a message as it was written, for the clipboard."""
    message = owned_row(Message, message_id)
    owned_conversation(message.conversation_id)
    return Response(message.text, mimetype="text/plain")


@bp.post("/messages/<uuid:message_id>/feedback", endpoint="feedback")
def rate_answer(message_id: UUID) -> ResponseReturnValue:
    """Store the user's rating of an answer; a rating of 0 deletes it."""
    answer = _owned_message(message_id, "assistant")
    owned_conversation(answer.conversation_id)
    form = accepted(FeedbackForm())
    rating = form.rating.data
    if rating == 0:
        of_answer = delete(Feedback).where(Feedback.message_id == answer.id)
        db.session.execute(of_answer)
    else:
        reason = form.reason.data or None
        feedback = Feedback(message_id=answer.id, rating=rating, reason=reason)
        db.session.merge(feedback)
        metrics.add("app.feedback", rating="good" if rating > 0 else "bad")
    db.session.commit()
    if wants_html():
        return redirect(_url_of(answer), 303)
    return "", 204


@bp.post("/tool-calls/<uuid:call_id>/decision", endpoint="decide")
def decide_tool_call(call_id: UUID) -> ResponseReturnValue:
    form = accepted(DecisionForm())
    approved = form.decision.data == "approve"
    run = service.decide(current_user.id, call_id, approved, form.reason.data)
    return answer_now(run)
