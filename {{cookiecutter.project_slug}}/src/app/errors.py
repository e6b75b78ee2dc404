"""One answer for every error: a page for browsers, RFC 9457 problem+json for ``fetch`` and API clients.

Both carry the trace id; neither carries internals.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, json, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError

from app.observability import metrics, trace_id, tracing

logger = logging.getLogger(__name__)

EXPLANATIONS = {
    400: "The request could not be understood.",
    401: "Please sign in first.",
    403: "This is not yours to see.",
    404: "There is nothing here.",
    405: "This address does not take that kind of request.",
    409: "That does not fit what is going on right now.",
    413: "That is too large.",
    415: "That kind of content is not accepted.",
    422: "Some of the values were not accepted.",
    429: "Too many requests; please wait a moment.",
    500: "Something went wrong on our side.",
    502: "A service behind this site did not answer.",
    503: "The site is busy; please try again in a moment.",
}


EXPIRED = "This page has been open for too long. Go back, reload it and send it once more; nothing has been changed."


class Problem(HTTPException):
    """An error with a machine-readable *kind*, a detail people understand and, if waiting helps, how long (seconds)."""

    def __init__(self, code: int, kind: str, detail: str, retry_after: int | None = None, **members: object):
        super().__init__(detail)
        self.code, self.kind, self.retry_after, self.members = code, kind, retry_after, members


def wants_html() -> bool:
    """Whether the client is a browser that shows a page, rather than ``fetch`` or an API client."""
    accepted = request.accept_mimetypes
    return (
        accepted["text/html"] > 0
        and "text/html" in request.headers.get("Accept", "")
        and accepted.best != "application/json"
    )


def answer(error: HTTPException) -> Response:
    """Turn *error* into a page or a problem, with its status and ``Retry-After``."""
    if error.response is not None:
        return make_response(error.response)
    code = error.code or 500
    detail = EXPIRED if isinstance(error, CSRFError) else (isinstance(error, Problem) and error.description)
    detail = detail or EXPLANATIONS.get(code, "")
    problem = {
        "type": kind if ":" in (kind := _kind(error)) else f"urn:problem:{kind}",
        "title": error.name,
        "status": code,
        "detail": detail,
        "trace_id": trace_id(),
    }
    if wants_html():
        response = make_response(render_template("error.html", **problem), code)
    else:
        body = json.dumps(problem | getattr(error, "members", {}))
        response = current_app.response_class(body, code, mimetype="application/problem+json")
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "www-authenticate"):
            response.headers[name] = value
    if retry_after := getattr(error, "retry_after", None):
        response.headers["Retry-After"] = str(retry_after)
    return response


def _kind(error: HTTPException) -> str:
    if isinstance(error, CSRFError):
        return "csrf"
    return getattr(error, "kind", None) or error.name.lower().replace(" ", "-")


def _unexpected(error: Exception) -> Response:
    logger.error("unhandled %s", type(error).__name__, exc_info=error)
    tracing.record(error)
    metrics.ERRORS.add(1, {"type": type(error).__name__, "where": "request"})
    return answer(InternalServerError())


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(Exception, _unexpected)
