"""The forms that the chat page sends."""

from typing import TypeVar

from flask import request
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, IntegerField, StringField, TextAreaField
from wtforms.validators import AnyOf, DataRequired, Length, Regexp, ValidationError

from app.chat.models import Approval, Conversation, Feedback
from app.config import settings
from app.errors import Problem
from app.text import clean_text

Form = TypeVar("Form", bound=FlaskForm)


def _clean(value: str | None) -> str:
    return clean_text(value or "").strip()


class QuestionForm(FlaskForm):  # type: ignore[misc]
    is_written = DataRequired("Please write something.")
    is_key = Regexp(r"^[0-9A-Za-z-]{8,64}$", message="This form is incomplete.")
    text = TextAreaField("Message", filters=[_clean], validators=[is_written])
    # Made by the page for each question: the same key again is the same question.
    client_key = HiddenField(validators=[is_key])

    def validate_text(self, field: Field) -> None:
        most = settings().max_message_chars
        if len(field.data) > most:
            raise ValidationError(f"That is too long: at most {most:,} characters.")


class DecisionForm(FlaskForm):  # type: ignore[misc]
    is_decision = AnyOf(("approve", "deny"), message="Approve or deny.")
    is_short = Length(max=Approval.reason.type.length)
    decision = StringField(validators=[is_decision])
    reason = StringField(filters=[_clean], validators=[is_short])


class FeedbackForm(FlaskForm):  # type: ignore[misc]
    is_rating = AnyOf((1, 0, -1), message="1, -1, or 0 to take it back.")
    is_short = Length(max=Feedback.reason.type.length)
    rating = IntegerField(validators=[is_rating])
    reason = StringField(filters=[_clean], validators=[is_short])


class TitleForm(FlaskForm):  # type: ignore[misc]
    is_given = DataRequired("Please give it a name.")
    is_short = Length(max=Conversation.title.type.length)
    title = StringField("Title", filters=[_clean], validators=[is_given, is_short])


def accepted(form: Form) -> Form:
    """Return *form* if it is valid and has no unknown fields.

    Raises:
        Problem: 422, with the messages for each bad field.
    """
    is_valid = form.validate()
    errors = {name: messages for name, messages in form.errors.items() if name}
    for name in request.form.keys() - form._fields.keys():
        errors[name] = ["This field is not known."]
    if is_valid and not errors:
        return form
    detail = " ".join(text for messages in errors.values() for text in messages)
    raise Problem(422, "invalid", detail, errors=errors)
