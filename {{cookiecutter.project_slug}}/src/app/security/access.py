"""Who may call which route, how often, and whether it writes: one table, enforced before every request.

A route that is not in the table answers 404, and the test-suite fails. A page of your own brings its rows in a
module attribute ``ACCESS`` (see ``pages/``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from flask import Flask, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue, RouteCallable
from flask_login import current_user
from werkzeug.exceptions import Unauthorized

from app.errors import wants_html
from app.security.bodies import FORMS
from app.security.limits import account, client

PUBLIC, SIGNED_IN, OWNER, ADMIN, NOBODY = "public", "signed in", "owner", "admin", "nobody"
READS, WRITES = "reads", "writes"


@dataclass(frozen=True)
class Route:
    """One row: OWNER routes answer 404 for another user's id, NOBODY's (a library's that we do not use) for everyone;
    *limit* (per client) and *account_limit* are in Flask-Limiter's notation; only *json* routes take JSON bodies."""

    endpoint: str
    method: str
    who: str
    mode: str = READS
    limit: str | None = None
    account_limit: str | None = None
    json: bool = False


# Attempts at signing in: by one client at any accounts, and at one account by any clients.
BY_CLIENT, BY_ACCOUNT = "30/15 minutes;100/2 hours;300/day", "10/15 minutes;20/2 hours;40/day"
MAILS_BY_ACCOUNT = "3/15 minutes;10/day"  # so that nobody's mailbox is flooded

ROUTES = (
    Route("static", "GET", PUBLIC),
    Route("health.livez", "GET", PUBLIC),
    Route("health.readyz", "GET", PUBLIC),
    # Accounts
    Route("security.login", "GET", PUBLIC),
    Route("security.login", "POST", PUBLIC, WRITES, BY_CLIENT, BY_ACCOUNT),
    Route("security.logout", "POST", PUBLIC, WRITES),
    Route("security.register", "GET", PUBLIC),
    Route("security.register", "POST", PUBLIC, WRITES, "60/15 minutes;200/day", MAILS_BY_ACCOUNT),
    Route("security_txt.show", "GET", PUBLIC),
    Route("accounts.csrf", "GET", PUBLIC),
    Route("accounts.settings", "GET", SIGNED_IN),
    Route("accounts.end_session", "POST", OWNER, WRITES),
    Route("accounts.end_other_sessions", "POST", SIGNED_IN, WRITES),
    Route("accounts.export", "GET", SIGNED_IN, READS, "10/hour"),
    Route("accounts.deletion", "GET", SIGNED_IN),
    Route("accounts.delete", "POST", SIGNED_IN, WRITES, "10/hour"),
    Route("avatar.show", "GET", SIGNED_IN),
    Route("avatar.upload", "POST", SIGNED_IN, READS, "20/hour"),
    Route("avatar.delete", "POST", SIGNED_IN, READS, "20/hour"),
    # Chat
    Route("chat.new", "GET", SIGNED_IN),
    Route("chat.start", "POST", SIGNED_IN, WRITES, "30/minute"),
    Route("chat.conversation", "GET", OWNER),
    Route("chat.earlier", "GET", OWNER),
    Route("chat.ask", "POST", OWNER, WRITES, "30/minute"),
    Route("chat.rename", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.delete", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.restore", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.regenerate", "POST", OWNER, WRITES, "30/minute"),
    Route("chat.stop", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.search", "GET", SIGNED_IN, READS, "60/minute"),
    Route("chat.export", "GET", OWNER, READS, "30/minute"),
    Route("chat.source", "GET", OWNER),
    Route("chat.edit", "POST", OWNER, WRITES, "30/minute"),
    Route("chat.show_version", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.feedback", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.decide", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.run_status", "GET", OWNER, READS, "120/minute"),
    Route("chat.seen", "POST", OWNER, WRITES, "60/minute"),
    Route("chat.run_events", "GET", OWNER, READS, "120/minute"),
    # The installed app
    Route("pwa.manifest", "GET", PUBLIC),
    Route("pwa.service_worker", "GET", PUBLIC),
    Route("pwa.offline", "GET", PUBLIC),
    Route("pwa.set_appearance", "POST", SIGNED_IN, WRITES, "60/minute"),
    Route("pwa.subscribe", "POST", SIGNED_IN, WRITES, "30/minute"),
    Route("pwa.unsubscribe", "POST", OWNER, WRITES, "60/minute"),
)
ACCOUNT_ROUTES = (
    Route("security.verify", "GET", SIGNED_IN),
    Route("security.verify", "POST", SIGNED_IN, WRITES, "10/15 minutes"),
    Route("security.forgot_password", "GET", PUBLIC),
    Route("security.forgot_password", "POST", PUBLIC, WRITES, "20/15 minutes;100/day", MAILS_BY_ACCOUNT),
    Route("security.reset_password", "GET", PUBLIC, READS, "20/minute"),
    Route("security.reset_password", "POST", PUBLIC, WRITES, "20/minute"),
    Route("security.change_password", "GET", SIGNED_IN),
    Route("security.change_password", "POST", SIGNED_IN, WRITES, "10/15 minutes"),
    Route("security.change_email", "GET", SIGNED_IN),
    Route("security.change_email", "POST", SIGNED_IN, WRITES, "5/15 minutes"),
    Route("security.change_email_confirm", "GET", PUBLIC, WRITES, "20/minute"),
    Route("security.two_factor_setup", "GET", SIGNED_IN),
    Route("security.two_factor_setup", "POST", SIGNED_IN, WRITES, "20/hour"),
    Route("security.two_factor_setup_validate", "POST", SIGNED_IN, WRITES, "20/hour"),
    Route("security.two_factor_token_validation", "GET", PUBLIC),
    Route("security.two_factor_token_validation", "POST", PUBLIC, WRITES, BY_CLIENT, BY_ACCOUNT),
    Route("security.mf_recovery", "GET", PUBLIC),
    Route("security.mf_recovery", "POST", PUBLIC, WRITES, BY_CLIENT, BY_ACCOUNT),
    Route("security.mf_recovery_codes", "GET", SIGNED_IN),
    Route("security.mf_recovery_codes", "POST", SIGNED_IN, WRITES, "10/hour"),
    Route("security.two_factor_rescue", "GET", NOBODY),
    Route("security.two_factor_rescue", "POST", NOBODY),
    Route("security.tf_select", "GET", NOBODY),
    Route("security.tf_select", "POST", NOBODY),
)
# Present only where sign-up needs a confirmed address.
CONFIRM_ROUTES = (
    Route("security.send_confirmation", "GET", PUBLIC),
    Route("security.send_confirmation", "POST", PUBLIC, WRITES, "20/15 minutes;100/day", MAILS_BY_ACCOUNT),
    Route("security.confirm_email", "GET", PUBLIC, WRITES, "20/minute"),
    Route("security.confirm_email", "POST", PUBLIC, WRITES, "20/minute"),
)


def register(app: Flask, rows: Iterable[Route]) -> None:
    """Add rows to the table of *app*."""
    for row in rows:
        app.extensions["access"][row.endpoint, row.method] = row


def table() -> dict[tuple[str, str], Route]:
    """The rows of the current application by endpoint and method."""
    rows: dict[tuple[str, str], Route] = current_app.extensions["access"]
    return rows


def _guard() -> ResponseReturnValue | None:
    if request.endpoint is None:
        return None  # routing has failed already: 404 or 405
    route = table().get((request.endpoint, "GET" if request.method == "HEAD" else request.method))
    if route is None or route.who == NOBODY:
        abort(404)
    if request.mimetype not in FORMS and not (route.json and request.is_json):
        abort(415)
    g.reads_only = route.mode == READS
    if route.who != PUBLIC and not current_user.is_authenticated:
        if wants_html() and request.method == "GET":
            return redirect(url_for("security.login", next=request.full_path.rstrip("?")))
        raise Unauthorized
    if route.who == ADMIN and not current_user.is_admin:
        abort(404)
    return None


def init_app(app: Flask) -> None:
    app.extensions["access"] = {}
    app.before_request(_guard)
    register(app, ROUTES)


def seal(app: Flask) -> None:
    """Put the table's limits on the view functions; called when every blueprint is registered."""
    limiter = app.extensions["limits"]
    for route in app.extensions["access"].values():
        for limit, key in ((route.account_limit, account), (route.limit, client)):
            if limit and route.endpoint in app.view_functions:
                view = app.view_functions[route.endpoint]
                limited = limiter.limit(limit, key_func=key, methods=[route.method], per_method=True)(view)
                app.view_functions[route.endpoint] = cast("RouteCallable", limited)
