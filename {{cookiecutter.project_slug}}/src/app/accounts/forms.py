"""Forms that differ from Flask-Security's own."""

from typing import Any

import flask_security as library
from flask import request
from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, StringField, ValidationError

LONGEST_VALUE = 1024
# Flask-Security's forms that are reachable, and what is different in ours.
FORMS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "login_form": (library.LoginForm, {"remember": None}),  # that cookie would sign in after its session row has ended
    "register_form": (library.RegisterFormV2, {}),
    "verify_form": (library.VerifyForm, {}),
    "send_confirmation_form": (library.SendConfirmationForm, {}),
    "forgot_password_form": (library.ForgotPasswordForm, {}),
    # A new password is asked for once: a mistake is repaired by a mailed link.
    "reset_password_form": (library.ResetPasswordForm, {"password_confirm": None}),
    "change_password_form": (library.ChangePasswordForm, {"new_password_confirm": None}),
    "change_email_form": (library.ChangeEmailForm, {}),
    # An authenticator app is the one method, and a recovery code the one other way.
    "two_factor_setup_form": (library.TwoFactorSetupForm, {"setup": HiddenField()}),
    "two_factor_rescue_form": (library.TwoFactorRescueForm, {"help_setup": RadioField(choices=[])}),
    "two_factor_verify_code_form": (library.TwoFactorVerifyCodeForm, {}),
    "mf_recovery_form": (library.MfRecoveryForm, {}),
    "mf_recovery_codes_form": (library.MfRecoveryCodesForm, {}),
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


def init_app(security: Any) -> None:
    for name, (form, different) in FORMS.items():
        security.set_form_info(name, library.FormInfo(cls=type(form.__name__, (Strict, form), different)))
