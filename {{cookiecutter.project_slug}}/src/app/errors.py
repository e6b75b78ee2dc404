"""One answer for every error: a page for browsers, RFC 9457 problem+json for ``fetch`` and API clients.

Both carry the trace id; neither carries internals.
"""

from flask import Flask, Response, current_app, json, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError

from app.config import read_table
from app.observability import metrics, tracing

EXPLANATIONS = read_table(__file__, "errors.toml")


class Problem(HTTPException):
    """An error with a machine-readable *kind*, a detail people understand and, if waiting helps, how long (seconds)."""

    def __init__(self, code: int, kind: str, detail: str, retry_after: int | None = None, **members: object):
        super().__init__(detail)
        self.code, self.kind, self.retry_after, self.members = code, kind, retry_after, members


def wants_html() -> bool:
    """Whether the client is a browser that shows a page, rather than ``fetch`` or an API client."""
    accepted = request.accept_mimetypes
    return "text/html" in accepted.values() and accepted["text/html"] > 0 and accepted.best != "application/json"


def answer(error: HTTPException) -> Response:
    """Turn *error* into a page or a problem, with its status and ``Retry-After``."""
    if error.response is not None:
        return make_response(error.response)
    own_kind = "csrf" if isinstance(error, CSRFError) else getattr(error, "kind", None)
    code, kind = error.code or 500, own_kind or error.name.lower().replace(" ", "-")
    own = error.description if isinstance(error, Problem) else None
    detail = own or EXPLANATIONS.get(kind) or EXPLANATIONS.get(str(code), "")
    problem = {"type": kind if ":" in kind else f"urn:problem:{kind}", "title": error.name, "status": code}
    problem |= {"detail": detail, "trace_id": tracing.current_ids()[0]}
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


def _unexpected(error: Exception) -> Response:
    current_app.logger.error("unhandled %s", type(error).__name__, exc_info=error)
    tracing.record(error)
    metrics.add("app.errors", type=type(error).__name__, where="request")
    return answer(InternalServerError())


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(Exception, _unexpected)
