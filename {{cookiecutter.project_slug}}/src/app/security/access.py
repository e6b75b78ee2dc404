"""Who may call which route, how often, and whether it writes: ``access.toml``, enforced before every request.

A route that is not in the table answers 404, and the test-suite fails. A page of your own brings its rows in a
module attribute ``ACCESS`` (see ``pages/``).
"""

import time
from collections.abc import Iterable
from typing import NamedTuple, cast

from flask import Flask, abort, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue, RouteCallable
from flask_login import current_user
from werkzeug.exceptions import Unauthorized

from app.config import read_table, settings
from app.errors import wants_html
from app.security.bodies import FORMS
from app.security.limits import account, client

PUBLIC, SIGNED_IN, OWNER, ADMIN, NOBODY = "public", "signed in", "owner", "admin", "nobody"
READS, WRITES = "reads", "writes"
# Every answer to an attempt at an account takes this long: how long its work took would tell whether there is one.
EVEN_SECONDS = 0.1


class Route(NamedTuple):
    """One row, as ``access.toml`` explains it."""

    endpoint: str
    method: str
    who: str
    mode: str = READS
    limit: str | None = None
    account_limit: str | None = None


def register(app: Flask, rows: Iterable[Route]) -> None:
    """Add rows to the table of *app*."""
    app.extensions["access"].update({(row.endpoint, row.method): row for row in rows})


def table() -> dict[tuple[str, str], Route]:
    """The rows of the current application by endpoint and method."""
    return cast("dict[tuple[str, str], Route]", current_app.extensions["access"])


def _guard() -> ResponseReturnValue | None:
    if request.endpoint is None:
        return None  # routing has failed already: 404 or 405
    route = table().get((request.endpoint, "GET" if request.method == "HEAD" else request.method))
    if route is None or route.who == NOBODY:
        abort(404)
    if request.mimetype not in FORMS:
        abort(415)
    g.reads_only = route.mode == READS
    if route.account_limit and not settings().development:
        request.environ["answer_at"] = time.monotonic() + EVEN_SECONDS
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


def seal(app: Flask) -> None:
    """Read the table and put its limits on the view functions; called when every blueprint is registered."""
    file, rows = read_table(__file__, "access.toml"), app.extensions["access"]
    for route, columns in file["routes"].items():
        endpoint, method = route.split()
        row = Route(endpoint, method, **{name: file["limits"].get(value, value) for name, value in columns.items()})
        if endpoint in app.view_functions:
            rows.setdefault((endpoint, method), row)
    limiter = app.extensions["limits"]
    for route in rows.values():
        for limit, key in ((route.account_limit, account), (route.limit, client)):
            if limit and route.endpoint in app.view_functions:
                view = app.view_functions[route.endpoint]
                limited = limiter.limit(limit, key_func=key, methods=[route.method], per_method=True)(view)
                app.view_functions[route.endpoint] = cast("RouteCallable", limited)
