"""Forms that differ from Flask-Security's own."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_login import current_user
from flask_security import (
    ChangeEmailForm,
    ChangePasswordForm,
    ForgotPasswordForm,
    FormInfo,
    LoginForm,
    MfRecoveryCodesForm,
    MfRecoveryForm,
    RegisterFormV2,
    ResetPasswordForm,
    SendConfirmationForm,
    TwoFactorRescueForm,
    TwoFactorSetupForm,
    TwoFactorVerifyCodeForm,
    VerifyForm,
)
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, StringField, ValidationError

LONGEST_VALUE = 1024


class SignInForm(LoginForm):
    """Without "remember me": such a cookie would sign in after its session row has ended."""

    remember = None


class NewPasswordForm(ChangePasswordForm):
    """The new password once: a mistake is repaired by a mailed link."""

    new_password_confirm = None


class ForgottenPasswordForm(ResetPasswordForm):
    password_confirm = None


class AppSetupForm(TwoFactorSetupForm):
    """One method, an authenticator app, so there is nothing to choose."""

    setup = HiddenField()


class NoRescueForm(TwoFactorRescueForm):
    """Never shown: a recovery code is the one other way."""

    help_setup = RadioField(choices=[])


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


FORMS: dict[str, type[Any]] = {
    "login_form": SignInForm,
    "change_password_form": NewPasswordForm,
    "reset_password_form": ForgottenPasswordForm,
    "two_factor_setup_form": AppSetupForm,
    "two_factor_rescue_form": NoRescueForm,
    "register_form": RegisterFormV2,
    "verify_form": VerifyForm,
    "forgot_password_form": ForgotPasswordForm,
    "send_confirmation_form": SendConfirmationForm,
    "change_email_form": ChangeEmailForm,
    "two_factor_verify_code_form": TwoFactorVerifyCodeForm,
    "mf_recovery_form": MfRecoveryForm,
    "mf_recovery_codes_form": MfRecoveryCodesForm,
}


def init_app(security: Any) -> None:
    for name, form in FORMS.items():
        security.set_form_info(name, FormInfo(cls=type(form.__name__, (Strict, form), {})))
