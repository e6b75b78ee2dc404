"""Accounts by Flask-Security, signed in by our own session rows (``sessions.py``)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask_security import MailUtil, PasswordUtil, RoleMixin, Security, SQLAlchemyUserDatastore

from app import mail
from app.accounts import audit, avatar, forms, own_data, sessions, two_factor, views
from app.accounts.models import User
from app.config import Settings, project
from app.database import db, now
from app.security import access

# Argon2id at the cost OWASP recommends (19 MiB, 2 passes, 1 lane): the library's own default takes six times as long
# and so invites a flood of sign-ins to exhaust the processor.
ARGON2_COST = {"argon2__type": "ID", "argon2__memory_cost": 19_456, "argon2__time_cost": 2, "argon2__parallelism": 1}
FRESH_FOR = timedelta(minutes=15)  # a stolen session cannot change how one signs in without the password
LINKS_LAST = timedelta(hours=2)
LONGEST_PASSWORD = 256
SETTINGS_PAGE = "/account/settings"


class Mail(MailUtil):
    """Flask-Security's mails through our own sender."""

    def send_mail(
        self, template: str, subject: str, recipient: Any, sender: Any, body: Any, html: Any, **_: Any
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
    return {
        "SECURITY_PASSWORD_HASH": "argon2",
        "SECURITY_PASSWORD_SCHEMES": ["argon2"],
        "SECURITY_PASSWORD_SINGLE_HASH": ["argon2"],  # else a rotated SECRET_KEY would void every password
        "SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS": ARGON2_COST,
        "SECURITY_PASSWORD_SALT": "unused, argon2 brings its own",
        "SECURITY_HASHING_SCHEMES": ["hex_sha256"],  # of what signed links carry; a slow one would tell who exists
        "SECURITY_DEPRECATED_HASHING_SCHEMES": [],
        "SECURITY_PASSWORD_LENGTH_MIN": 10,
        "SECURITY_PASSWORD_COMPLEXITY_CHECKER": "zxcvbn",  # knows the common and breached ones, needs no network
        "SECURITY_PASSWORD_CONFIRM_REQUIRED": False,
        "SECURITY_REGISTERABLE": True,
        "SECURITY_CONFIRMABLE": confirm,
        "SECURITY_AUTO_LOGIN_AFTER_CONFIRM": True,
        "SECURITY_SEND_REGISTER_EMAIL": confirm,
        "SECURITY_RETURN_GENERIC_RESPONSES": confirm,
        "SECURITY_RECOVERABLE": True,
        "SECURITY_RESET_PASSWORD_WITHIN": LINKS_LAST,
        "SECURITY_CHANGEABLE": True,
        "SECURITY_CHANGE_URL": "/account/password",
        "SECURITY_POST_CHANGE_VIEW": SETTINGS_PAGE,
        "SECURITY_CHANGE_EMAIL": True,
        "SECURITY_CHANGE_EMAIL_URL": "/account/email",
        "SECURITY_CHANGE_EMAIL_WITHIN": LINKS_LAST,
        "SECURITY_POST_CHANGE_EMAIL_VIEW": SETTINGS_PAGE,
        "SECURITY_CHANGE_EMAIL_ERROR_VIEW": "/login",
        "SECURITY_TWO_FACTOR": True,
        "SECURITY_TWO_FACTOR_ENABLED_METHODS": ["authenticator"],
        "SECURITY_TWO_FACTOR_RESCUE_EMAIL": False,
        "SECURITY_TWO_FACTOR_SETUP_URL": "/account/two-factor",
        "SECURITY_TWO_FACTOR_TOKEN_VALIDATION_URL": "/login/code",
        "SECURITY_TWO_FACTOR_POST_SETUP_VIEW": SETTINGS_PAGE,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES": True,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES_N": 8,
        "SECURITY_MULTI_FACTOR_RECOVERY_CODES_URL": "/account/recovery-codes",
        "SECURITY_MULTI_FACTOR_RECOVERY_URL": "/login/recovery-code",
        "SECURITY_TOTP_ISSUER": project()["name"],
        "SECURITY_FRESHNESS": FRESH_FOR,
        "SECURITY_FRESHNESS_GRACE_PERIOD": FRESH_FOR,
        "SECURITY_VERIFY_URL": "/account/verify",
        "SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False, "test_environment": settings.development},
        "SECURITY_EMAIL_SENDER": settings.sender,
        "SECURITY_POST_LOGIN_VIEW": "/chat",
        "SECURITY_POST_REGISTER_VIEW": "/chat",
        "SECURITY_POST_CONFIRM_VIEW": "/chat",
        "SECURITY_POST_LOGOUT_VIEW": "/",
        "SECURITY_DATETIME_FACTORY": now,
        "SECURITY_JOIN_USER_ROLES": False,
        "SECURITY_STATIC_FOLDER": None,
        "SECURITY_CACHE_CONTROL": None,  # security/headers.py says it for every page
        "SECURITY_API_ENABLED_METHODS": ["session"],
        "SESSION_PROTECTION": None,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": settings.session_absolute,
    }


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
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
    access.register(app, access.ACCOUNT_ROUTES)
    if not settings.development:
        access.register(app, access.CONFIRM_ROUTES)
