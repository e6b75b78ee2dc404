"""What went wrong with a model's answer: one word for the row, one sentence for people, nothing of it in the log."""

import traceback
from typing import Any

from app.config import read_table

FAILURES = read_table(__file__, "failures.toml")
FATAL_ENDINGS = ("refused", "model", "connection")
_CODES = {name: code for code, failure in FAILURES.items() for name in failure["exceptions"]}


def note(code: str | None) -> str:
    """The sentence for a failure; nothing for none."""
    return str(FAILURES[code]["note"]) if code in FAILURES else ""


def code_of(error: BaseException) -> str:
    """The word for what ended a run; of a chain of models it is the last one's, of an exception its nearest class's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[-1]
    if isinstance(error.__cause__, ValueError):  # it arrived, and could not be parsed
        return "model"
    return next((_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CODES), "model")


def ending_of(result: Any) -> str | None:
    """What is to be said of an answer that came to its end: None if that was a good one."""
    response = result.response
    known = response.finish_reason or (response.provider_details or {}).get("finish_reason")
    if not known and response.provider_name not in (None, "function", "test"):
        return "connection"  # the stream just ended
    return {"length": "length", "content_filter": "refused", "error": "model"}.get(response.finish_reason)


def described(error: BaseException) -> str:
    """*error* for a log line: classes, a status code and a place, but no text, which may repeat a prompt or a key."""
    causes = [error]
    while len(causes) < 5 and (cause := causes[-1].__cause__ or causes[-1].__context__):
        causes.append(cause)
    place = traceback.extract_tb(error.__traceback__)[-1]
    status = getattr(error, "status_code", "")
    return f"{' < '.join(type(cause).__name__ for cause in causes)} {status} at {place.filename}:{place.lineno}"
