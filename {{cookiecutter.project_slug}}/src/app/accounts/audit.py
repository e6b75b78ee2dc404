"""What happens to accounts, in log, traces and metrics: who, when and what, never a password, a code or an address."""

import logging
from typing import Any

import flask_security.signals as security
from flask import Flask, request

from app.accounts.own_data import account_deleted
from app.accounts.sessions import session_ended
from app.observability import metrics, tracing

logger = logging.getLogger(__name__)
EVENTS = {
    security.user_authenticated: "signed in",
    security.user_failed_authn: "failed to sign in",
    security.user_registered: "signed up",
    security.password_changed: "changed the password",
    security.password_reset: "reset the password",
    security.change_email_confirmed: "changed the e-mail address",
    security.tf_profile_changed: "set up two-factor sign-in",
    security.tf_disabled: "switched two-factor sign-in off",
    session_ended: "ended a session",
    account_deleted: "deleted the account",
}
SIGN_IN_OUTCOMES = {"signed in": "ok", "failed to sign in": "failed"}


def _listener(event: str) -> Any:
    def note(sender: Any, user: Any = None, **_: Any) -> None:
        user_id = getattr(user, "id", None) or "new"
        logger.info("account %s %s from %s", user_id, event, request.remote_addr)
        tracing.note(event, user=user_id)
        if event == "signed up":
            metrics.add("app.sign_ups")
        elif event in SIGN_IN_OUTCOMES:
            metrics.add("app.sign_ins", outcome=SIGN_IN_OUTCOMES[event])

    return note


def init_app(app: Flask) -> None:
    for signal, event in EVENTS.items():
        signal.connect(_listener(event), app, weak=False)
