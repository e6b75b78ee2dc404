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
from app.security.limits import limiter

PUBLIC, SIGNED_IN, OWNER, ADMIN = "public", "signed in", "owner", "admin"
READS, WRITES = "reads", "writes"


@dataclass(frozen=True)
class Route:
    """One row: OWNER routes answer 404 for another user's id; *limit* is in Flask-Limiter's notation."""

    endpoint: str
    method: str
    who: str
    mode: str = READS
    limit: str | None = None


ROUTES = (
    Route("static", "GET", PUBLIC),
    Route("health.livez", "GET", PUBLIC),
    Route("health.readyz", "GET", PUBLIC),
    # Accounts
    Route("security.login", "GET", PUBLIC),
    Route("security.login", "POST", PUBLIC, WRITES, "30/minute"),
    Route("security.logout", "POST", PUBLIC, WRITES),
    Route("security.register", "GET", PUBLIC),
    Route("security.register", "POST", PUBLIC, WRITES, "60/minute"),
    Route("accounts.sessions", "GET", SIGNED_IN),
    Route("accounts.end_session", "POST", OWNER, WRITES),
    Route("accounts.csrf", "GET", PUBLIC),
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
    Route("chat.run_status", "GET", OWNER, READS, "120/minute"),
    Route("chat.run_events", "GET", OWNER, READS, "120/minute"),
)
# Present only where sign-up needs a confirmed address.
CONFIRM_ROUTES = (
    Route("security.send_confirmation", "GET", PUBLIC),
    Route("security.send_confirmation", "POST", PUBLIC, WRITES, "5/minute"),
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
    if route is None:
        abort(404)
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
    for route in app.extensions["access"].values():
        if route.limit and route.endpoint in app.view_functions:
            view = app.view_functions[route.endpoint]
            app.view_functions[route.endpoint] = cast(
                "RouteCallable", limiter.limit(route.limit, methods=[route.method])(view)
            )
