"""The routes of single messages: other versions, feedback, the source, and decisions on tool calls."""

from uuid import UUID

from flask import Response, abort, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import delete, select

from app.chat import history, runs
from app.chat.forms import DecisionForm, FeedbackForm, QuestionForm, accepted
from app.chat.models import Conversation, Feedback, Message, Run
from app.chat.views import answer_now, bp, own, own_conversation, started
from app.database import db
from app.errors import Problem, wants_html
from app.observability import metrics

__all__ = ["bp"]


def _own_message(message_id: UUID, role: str) -> tuple[Message, Conversation]:
    message = own(Message, message_id)
    if message.role != role:
        abort(404)
    return message, own_conversation(message.conversation_id)


@bp.post("/messages/<uuid:message_id>/regenerate")
def regenerate(message_id: UUID) -> ResponseReturnValue:
    answer, conversation = _own_message(message_id, "assistant")
    return started(runs.regenerate(conversation, answer))


@bp.post("/messages/<uuid:message_id>/edit")
def edit(message_id: UUID) -> ResponseReturnValue:
    """Ask another question in the place of one; the earlier version stays."""
    question, conversation = _own_message(message_id, "user")
    form = accepted(QuestionForm())
    return started(runs.ask(current_user.id, conversation, form.text.data, form.client_key.data, question))


@bp.post("/messages/<uuid:message_id>/show")
def show_version(message_id: UUID) -> ResponseReturnValue:
    """Show a version of a message and the latest of what followed it."""
    message = own(Message, message_id)
    conversation = own_conversation(message.conversation_id)
    run = db.session.scalar(select(Run).where(Run.answer_id == conversation.head_id))
    if run and run.active:
        raise Problem(409, "conversation-busy", "An answer is still being written in this conversation.")
    conversation.head_id = history.end_of(db.session, message)
    db.session.commit()
    url = url_for(".conversation", conversation_id=conversation.id, _anchor=f"m{message.id}")
    return redirect(url, 303) if wants_html() else {"url": url}


@bp.get("/messages/<uuid:message_id>/source")
def source(message_id: UUID) -> ResponseReturnValue:
    """The text as it was written, for the clipboard."""
    message = own(Message, message_id)
    own_conversation(message.conversation_id)
    return Response(message.text, mimetype="text/plain")


@bp.post("/messages/<uuid:message_id>/feedback")
def feedback(message_id: UUID) -> ResponseReturnValue:
    """Keep what the user thinks of an answer; a rating of 0 takes it back."""
    answer, _ = _own_message(message_id, "assistant")
    form = accepted(FeedbackForm())
    if form.rating.data:
        db.session.merge(Feedback(message_id=answer.id, rating=form.rating.data, reason=form.reason.data or None))
        metrics.add("app.feedback", rating="good" if form.rating.data > 0 else "bad")
    else:
        db.session.execute(delete(Feedback).where(Feedback.message_id == answer.id))
    db.session.commit()
    if wants_html():
        return redirect(url_for(".conversation", conversation_id=answer.conversation_id, _anchor=f"m{answer.id}"), 303)
    return "", 204


@bp.post("/tool-calls/<uuid:call_id>/decision")
def decide(call_id: UUID) -> ResponseReturnValue:
    form = accepted(DecisionForm())
    return answer_now(runs.decide(current_user.id, call_id, form.decision.data == "approve", form.reason.data))
