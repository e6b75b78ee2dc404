"""Forms that differ from Flask-Security's own."""

from typing import Any

from flask import Flask, request
from flask_login import current_user
from flask_security import FormInfo
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, StringField, ValidationError

LONGEST_VALUE = 1024
# What is different in ours.
DIFFERENT: dict[str, dict[str, Any]] = {
    "login_form": {"remember": None},  # that cookie would sign in after its session row has ended
    # A new password is asked for once: a mistake is repaired by a mailed link.
    "reset_password_form": {"password_confirm": None},
    "change_password_form": {"new_password_confirm": None},
    # An authenticator app is the one method, and a recovery code the one other way.
    "two_factor_setup_form": {"setup": HiddenField()},
    "two_factor_rescue_form": {"help_setup": RadioField(choices=[])},
}


class DeletionForm(FlaskForm):  # type: ignore[misc]
    """Deletes an account when its address is typed."""

    email = StringField("Email")

    def validate_email(self, field: Any) -> None:
        if (field.data or "").strip().casefold() != current_user.email.casefold():
            raise ValidationError("Type the address of this account.")


class Strict:
    """Refuses fields that a form does not have, and values longer than any of its fields needs."""

    def validate(self, **kwargs: Any) -> bool:
        unknown = request.form.keys() - self._fields.keys()  # type: ignore[attr-defined]
        if unknown or any(len(value) > LONGEST_VALUE for value in request.form.values()):
            self.form_errors: list[str] = [f"Not accepted: {', '.join(sorted(unknown)) or 'a value that long'}."]
            return False
        return bool(super().validate(**kwargs))  # type: ignore[misc]


def init_app(app: Flask) -> None:
    security = app.extensions["security"]
    for name, info in list(security.forms.items()):
        if info.cls:
            ours = type(info.cls.__name__, (Strict, info.cls), DIFFERENT.get(name, {}))
            security.set_form_info(name, FormInfo(cls=ours))
