"""Accounts by Flask-Security, signed in by our own session rows (``sessions.py``)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask_security import FormInfo, MailUtil, RoleMixin, Security, SQLAlchemyUserDatastore

from app import mail
from app.accounts import sessions
from app.accounts.forms import SignInForm
from app.accounts.models import User
from app.accounts.views import bp
from app.database import db, now
from app.security import access

# Argon2id at the cost OWASP recommends (19 MiB, 2 passes, 1 lane): the library's own default takes six times as long
# and so invites a flood of sign-ins to exhaust the processor.
ARGON2_COST = {"argon2__type": "ID", "argon2__memory_cost": 19_456, "argon2__time_cost": 2, "argon2__parallelism": 1}


class Mail(MailUtil):
    """Flask-Security's mails through our own sender."""

    def send_mail(
        self, template: str, subject: str, recipient: Any, sender: Any, body: Any, html: Any, **_: Any
    ) -> None:
        mail.send(str(recipient), str(subject), body or "", html)


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    confirm = not settings.development  # in production a mailed link signs in, whether or not the account existed
    app.config.update(
        SECURITY_PASSWORD_HASH="argon2",  # noqa: S106 (the name of a scheme)
        SECURITY_PASSWORD_SCHEMES=["argon2"],
        SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS=ARGON2_COST,
        SECURITY_PASSWORD_SALT=settings.secret_key.get_secret_value(),
        SECURITY_PASSWORD_LENGTH_MIN=10,
        SECURITY_PASSWORD_CONFIRM_REQUIRED=False,
        SECURITY_REGISTERABLE=True,
        SECURITY_CONFIRMABLE=confirm,
        SECURITY_AUTO_LOGIN_AFTER_CONFIRM=True,
        SECURITY_SEND_REGISTER_EMAIL=confirm,
        SECURITY_RETURN_GENERIC_RESPONSES=confirm,
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False, "test_environment": settings.development},
        SECURITY_EMAIL_SENDER=settings.sender,
        SECURITY_POST_LOGIN_VIEW="/chat",
        SECURITY_POST_REGISTER_VIEW="/chat",
        SECURITY_POST_CONFIRM_VIEW="/chat",
        SECURITY_POST_LOGOUT_VIEW="/",
        SECURITY_DATETIME_FACTORY=now,
        SECURITY_JOIN_USER_ROLES=False,
        SECURITY_STATIC_FOLDER=None,
        SECURITY_FRESHNESS=timedelta(seconds=-1),
        SECURITY_API_ENABLED_METHODS=["session"],
        SESSION_PROTECTION=None,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=settings.session_absolute,
    )
    security = Security(app, SQLAlchemyUserDatastore(db, User, RoleMixin), mail_util_cls=Mail)
    security.set_form_info("login_form", FormInfo(cls=SignInForm))
    sessions.init_app(app)
    app.register_blueprint(bp)
    if confirm:
        access.register(app, access.CONFIRM_ROUTES)
