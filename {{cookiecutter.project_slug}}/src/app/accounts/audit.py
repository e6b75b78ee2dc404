"""What happens to accounts, in log, traces and metrics: who, when and what, never a password, a code or an address."""

from typing import Any

from flask import Flask, current_app, request
from flask_security import signals

from app.accounts import own_data, sessions
from app.config import read_table
from app.observability import metrics, tracing

EVENTS = {getattr(signals, name): event for name, event in read_table(__file__, "audit.toml").items()}
EVENTS |= {sessions.session_ended: "ended a session", own_data.account_deleted: "deleted the account"}
SIGN_IN_OUTCOMES = {"signed in": "ok", "failed to sign in": "failed"}


def _listener(event: str) -> Any:
    def note(sender: Any, user: Any = None, **_: Any) -> None:
        user_id = getattr(user, "id", None) or "new"
        current_app.logger.info("account %s %s from %s", user_id, event, request.remote_addr)
        tracing.note(event, user=user_id)
        if event == "signed up":
            metrics.add("app.sign_ups")
        elif event in SIGN_IN_OUTCOMES:
            metrics.add("app.sign_ins", outcome=SIGN_IN_OUTCOMES[event])

    return note


def init_app(app: Flask) -> None:
    for signal, event in EVENTS.items():
        signal.connect(_listener(event), app, weak=False)
