"""Requests that are refused before anything looks at them, and Pydantic models for query strings.

Forms are checked by WTForms; no route takes JSON.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, abort, request
from pydantic import BaseModel, ValidationError
from werkzeug.sansio.utils import host_is_trusted

from app.config import settings
from app.errors import Problem

FORM_BYTES, FORM_FIELDS = 500_000, 50  # Werkzeug bounds multipart forms only
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "")
HOST = r"(\[[^]]*]|[^][:]*)(:[0-9]{0,5})?"
LOCAL = ("localhost", "127.0.0.1")  # health checks from the same machine
Data = TypeVar("Data", bound=BaseModel)


def query(model: type[Data], values: Mapping[str, object] | None = None) -> Data:
    """The request's query string, or other *values*, as *model*; a 422 names each bad field."""
    try:
        return model.model_validate(request.args.to_dict() if values is None else values)
    except ValidationError as error:
        errors = {".".join(map(str, e["loc"])): [e["msg"]] for e in error.errors(include_input=False)}
        told = " ".join(f"{name}: {text[0]}." for name, text in errors.items())
        raise Problem(422, "invalid", told, errors=errors) from None


def _refuse() -> None:
    # A host that is not ours would end up in mailed links. Flask's own TRUSTED_HOSTS raises wherever the URL is read
    # first, and that is in the tracing around Flask, where nothing turns it into an answer.
    if (trusted := settings().trusted_hosts) and not host_is_trusted(request.headers.get("Host"), (*LOCAL, *trusted)):
        abort(400)
    if request.mimetype == FORMS[0]:
        request.max_content_length = FORM_BYTES
        if request.get_data(cache=True).count(b"&") >= FORM_FIELDS:
            abort(413)
    try:
        for url in (request.referrer or "", *request.values.getlist("next")):
            urlsplit(url)
    except ValueError:  # Flask-WTF and Flask-Security would fail on it
        abort(400)
    texts = (request.path, *request.args, *request.args.values(), *request.form, *request.form.values())
    if any("\0" in text for text in texts):  # no text has one, and PostgreSQL fails on it
        abort(400)


def _outermost(wsgi_app: Any) -> Any:
    """What Flask cannot do. A port that is no number makes the tracing around Flask raise, where nothing turns that
    into an answer; and an answer that has to wait (``access.py``) does so when all work for it is done."""

    def checked(environ: dict[str, Any], start_response: Any) -> Any:
        if not re.fullmatch(HOST, environ.get("HTTP_HOST", "")):
            environ |= {"HTTP_HOST": "invalid", "SERVER_PORT": "0"}
        answer = wsgi_app(environ, start_response)
        if (early := environ.get("answer_at", 0.0) - time.monotonic()) > 0:
            time.sleep(early)
        return answer

    return checked


def init_app(app: Flask) -> None:
    app.wsgi_app = _outermost(app.wsgi_app)  # type: ignore[method-assign]
    app.config["MAX_FORM_PARTS"] = FORM_FIELDS
    app.before_request(_refuse)
