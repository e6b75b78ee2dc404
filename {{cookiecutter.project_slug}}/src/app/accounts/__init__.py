"""Accounts by Flask-Security, signed in by our own session rows (``sessions.py``)."""

from datetime import timedelta
from typing import Any

from flask import Flask
from flask_security import MailUtil, PasswordUtil, RoleMixin, Security, SQLAlchemyUserDatastore

from app import mail
from app.accounts import audit, avatar, forms, own_data, sessions, two_factor, views
from app.accounts.models import User
from app.config import Settings, project, read_table
from app.database import db, now

FRESH_FOR = timedelta(minutes=15)  # a stolen session cannot change how one signs in without the password
LINKS_LAST = timedelta(hours=2)
LONGEST_PASSWORD = 256


class Mail(MailUtil):
    """Flask-Security's mails through our own sender."""

    def send_mail(
        self, template: Any, subject: Any, recipient: Any, sender: Any, body: Any, html: Any, **_: Any
    ) -> None:
        # Queued: how long a mail server takes, or that it fails, would tell that an account exists.
        mail.send.enqueue(str(recipient), str(subject), body or "", html)


class Passwords(PasswordUtil):
    """Bounds a password before anything costly looks at it; the first 72 characters say how hard it is to guess."""

    def validate(self, password: str, is_register: bool, **user: Any) -> tuple[list[str] | None, str]:
        password = self.normalize(password)
        if len(password) > LONGEST_PASSWORD:
            return [f"Please use at most {LONGEST_PASSWORD} characters."], password
        problems, _ = super().validate(password[:72], is_register, **user)
        return problems, password


def _options(settings: Settings) -> dict[str, Any]:
    confirm = not settings.development  # in production a mailed link signs in, whether or not the account existed
    own: dict[str, Any] = dict.fromkeys(("CONFIRMABLE", "SEND_REGISTER_EMAIL", "RETURN_GENERIC_RESPONSES"), confirm)
    own |= dict.fromkeys(("RESET_PASSWORD_WITHIN", "CHANGE_EMAIL_WITHIN"), LINKS_LAST)
    own |= dict.fromkeys(("FRESHNESS", "FRESHNESS_GRACE_PERIOD"), FRESH_FOR)
    own |= {"EMAIL_VALIDATOR_ARGS": {"check_deliverability": False, "test_environment": settings.development}}
    own |= {"STATIC_FOLDER": None, "EMAIL_SENDER": settings.sender, "TOTP_ISSUER": project()["name"]}
    age = timedelta(hours=settings.session_absolute_hours)
    others = {"SECURITY_DATETIME_FACTORY": now, "SESSION_PROTECTION": None, "PERMANENT_SESSION_LIFETIME": age}
    return {f"SECURITY_{name}": value for name, value in own.items()} | others


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    app.config |= read_table(__file__, "flask-security.toml") | _options(settings) | two_factor.options(settings)
    ours: Any = {"mail_util_cls": Mail, "password_util_cls": Passwords, "totp_cls": two_factor.OneTimeCodes}
    Security(app, SQLAlchemyUserDatastore(db, User, RoleMixin), **ours)
    for part in (forms, two_factor, sessions, audit, own_data, views, avatar):
        part.init_app(app)
