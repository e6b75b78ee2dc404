"""Requests that are refused before anything looks at them, and Pydantic models for JSON and query strings.

Forms are checked by WTForms. JSON is accepted only by routes whose row in the access table says so.
"""

from collections.abc import Mapping
from typing import TypeVar

from flask import Flask, abort, request
from pydantic import BaseModel, ValidationError
from werkzeug.sansio.utils import host_is_trusted

from app.config import current as settings
from app.errors import Problem

FORM_BYTES, FORM_FIELDS = 500_000, 50  # Werkzeug bounds multipart forms only
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "")
LOCAL = ("localhost", "127.0.0.1")  # health checks from the same machine
Data = TypeVar("Data", bound=BaseModel)


def json_body(model: type[Data]) -> Data:
    """The request's JSON as *model*, whose configuration should forbid extra fields; a 422 names each bad field."""
    try:
        return model.model_validate_json(request.get_data(), strict=True)
    except ValidationError as error:
        raise invalid(error) from None


def query(model: type[Data], values: Mapping[str, object] | None = None) -> Data:
    """The request's query string, or other *values*, as *model*; a 422 names each bad field."""
    try:
        return model.model_validate(request.args.to_dict() if values is None else values)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> Problem:
    """A 422 that names each bad field."""
    errors = {".".join(map(str, e["loc"])) or "body": [e["msg"]] for e in error.errors(include_input=False)}
    return Problem(422, "invalid", " ".join(f"{name}: {text[0]}." for name, text in errors.items()), errors=errors)


def _refuse() -> None:
    # A host that is not ours would end up in mailed links. Flask's own TRUSTED_HOSTS raises wherever the URL is read
    # first, and that is in the tracing around Flask, where nothing turns it into an answer.
    if (trusted := settings().trusted_hosts) and not host_is_trusted(request.headers.get("Host"), (*LOCAL, *trusted)):
        abort(400)
    if request.mimetype == FORMS[0]:
        request.max_content_length = FORM_BYTES
        if request.get_data(cache=True).count(b"&") >= FORM_FIELDS:
            abort(413)
    texts = (request.path, *request.args, *request.args.values(), *request.form, *request.form.values())
    if any("\0" in text for text in texts):  # no text has one, and PostgreSQL fails on it
        abort(400)


def init_app(app: Flask) -> None:
    app.config["MAX_FORM_PARTS"] = FORM_FIELDS
    app.before_request(_refuse)
