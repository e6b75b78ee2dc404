"""Accounts by Flask-Security, signed in by our own session rows (``sessions.py``)."""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask_security import MailUtil, PasswordUtil, RoleMixin, Security, SQLAlchemyUserDatastore

from app import mail
from app.accounts import audit, avatar, forms, own_data, sessions, two_factor, views
from app.accounts.models import User
from app.config import Settings, project
from app.database import db, now

FRESH_FOR = timedelta(minutes=15)  # a stolen session cannot change how one signs in without the password
LINKS_LAST = timedelta(hours=2)
LONGEST_PASSWORD = 256


class Mail(MailUtil):
    """Flask-Security's mails through our own sender."""

    def send_mail(
        self, template: Any, subject: Any, recipient: Any, sender: Any, body: Any, html: Any, **_: Any
    ) -> None:
        mail.send(str(recipient), str(subject), body or "", html)


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
    own = {
        **dict.fromkeys(("CONFIRMABLE", "SEND_REGISTER_EMAIL", "RETURN_GENERIC_RESPONSES"), confirm),
        **dict.fromkeys(("RESET_PASSWORD_WITHIN", "CHANGE_EMAIL_WITHIN"), LINKS_LAST),
        **dict.fromkeys(("FRESHNESS", "FRESHNESS_GRACE_PERIOD"), FRESH_FOR),
        "EMAIL_VALIDATOR_ARGS": {"check_deliverability": False, "test_environment": settings.development},
        "EMAIL_SENDER": settings.sender,
        "TOTP_ISSUER": project()["name"],
        "DATETIME_FACTORY": now,
        "STATIC_FOLDER": None,
    }
    age = timedelta(hours=settings.session_absolute_hours)
    others = {"SESSION_PROTECTION": None, "PERMANENT_SESSION_LIFETIME": age}
    return {f"SECURITY_{name}": value for name, value in own.items()} | others


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    app.config.from_file(str(Path(__file__).with_name("flask-security.toml")), tomllib.load, text=False)
    app.config.update(_options(settings), **two_factor.options(settings))
    datastore = SQLAlchemyUserDatastore(db, User, RoleMixin)
    security = Security(
        app, datastore, mail_util_cls=Mail, password_util_cls=Passwords, totp_cls=two_factor.OneTimeCodes
    )
    forms.init_app(security)
    two_factor.init_app(app)
    sessions.init_app(app)
    audit.init_app(app)
    own_data.init_app(app)
    views.init_app(app)
    avatar.init_app(app)
