"""What the chat page sends."""

from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import HiddenField, IntegerField, StringField, TextAreaField
from wtforms.validators import AnyOf, DataRequired, Length, Regexp, ValidationError

from app.chat.models import Approval, Conversation, Feedback
from app.config import settings
from app.errors import Problem
from app.security.markdown import clean_text


def _clean(value: str | None) -> str:
    return clean_text(value or "").strip()


class QuestionForm(FlaskForm):  # type: ignore[misc]
    text = TextAreaField("Message", filters=[_clean], validators=[DataRequired("Please write something.")])
    client_key = HiddenField(validators=[Regexp(r"^[0-9A-Za-z-]{8,64}$", message="This form is incomplete.")])

    def validate_text(self, field: Any) -> None:
        most = settings().max_message_chars
        if len(field.data) > most:
            raise ValidationError(f"That is too long: at most {most:,} characters.")


class DecisionForm(FlaskForm):  # type: ignore[misc]
    decision = StringField(validators=[AnyOf(("approve", "deny"), message="Approve or deny.")])
    reason = StringField(filters=[_clean], validators=[Length(max=Approval.reason.type.length)])


class FeedbackForm(FlaskForm):  # type: ignore[misc]
    rating = IntegerField(validators=[AnyOf((1, 0, -1), message="1, -1, or 0 to take it back.")])
    reason = StringField(filters=[_clean], validators=[Length(max=Feedback.reason.type.length)])


class TitleForm(FlaskForm):  # type: ignore[misc]
    _rules = DataRequired("Please give it a name."), Length(max=Conversation.title.type.length)
    title = StringField("Title", _rules, [_clean])


def accepted(form: FlaskForm) -> FlaskForm:
    """*form* if its values are good; raises a 422 problem that names each bad field."""
    unknown = {name: ["This field is not known."] for name in request.form.keys() - form._fields.keys()}
    if not form.validate() or unknown:
        errors = {name: messages for name, messages in form.errors.items() if name} | unknown
        told = " ".join(text for messages in errors.values() for text in messages)
        raise Problem(422, "invalid", told, errors=errors)
    return form
