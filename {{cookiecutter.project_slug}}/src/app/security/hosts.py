"""Refuses host names that are not ours, which would end up in mailed links and redirects.

Flask's own TRUSTED_HOSTS raises wherever the request's URL is read first, and that is in the tracing around Flask,
where nothing turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, abort, request
from werkzeug.sansio.utils import host_is_trusted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOCAL = ("localhost", "127.0.0.1")  # health checks from the same machine
REFUSED = "app.untrusted_host"


class OnlyTrusted:
    """WSGI middleware that marks a request for another host, and hides that host from everything behind it."""

    def __init__(self, wsgi_app: WSGIApplication, trusted: Iterable[str]):
        self.wsgi_app, self.trusted = wsgi_app, (*LOCAL, *trusted)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not host_is_trusted(environ.get("HTTP_HOST", ""), self.trusted):
            environ["HTTP_HOST"], environ[REFUSED] = LOCAL[0], True
        return self.wsgi_app(environ, start_response)


def _refuse() -> None:
    if REFUSED in request.environ:
        abort(400)


def init_app(app: Flask) -> None:
    app.before_request(_refuse)
