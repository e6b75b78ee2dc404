"""What went wrong with a model's answer: one word for the row, one sentence for people, nothing of it in the log."""

from __future__ import annotations

import traceback
from typing import Any

# Exceptions of Pydantic AI by name, the nearest class first: it is not imported here. "model" is everything else.
CODES = {
    "TimeoutError": "timeout",
    "ModelRequestTimeout": "timeout",
    "ModelTimeoutError": "timeout",
    "ModelAPIError": "connection",
    "ModelRateLimitError": "busy",
    "ModelUnavailableError": "busy",
    "ModelServerError": "busy",
    "ModelRequestRejectedError": "unavailable",
    "ModelAuthenticationError": "unavailable",
    "ModelQuotaExceededError": "unavailable",
    "ContentFilterError": "refused",
    "UsageLimitExceeded": "limit",
    "BudgetSpentError": "budget",
    "AnswerTooLongError": "length",
}
NOTES = {
    "timeout": "The model took too long to answer.",
    "connection": "The connection to the model broke.",
    "busy": "The model is overloaded just now; please try again in a moment.",
    "unavailable": "The model is not available; whoever runs this site has to look at its settings.",
    "refused": "The model declined to answer.",
    "limit": "The answer needed more steps than are allowed.",
    "length": "The answer was cut off where it grew too long.",
    "budget": "Your budget for today is spent; it is renewed at midnight UTC.",
    "model": "The model sent something that cannot be understood.",
    "save": "The answer could not be saved.",
}


def code_of(error: BaseException) -> str:
    """The key of ``NOTES`` for what ended a run; of a chain of models it is the last one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[-1]
    if isinstance(error.__cause__, ValueError):  # it arrived, and could not be parsed
        return "model"
    return next((CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in CODES), "model")


FATAL_ENDINGS = ("refused", "model", "connection")


def ending_of(result: Any) -> str | None:
    """What is to be said of an answer that came to its end: None if that was a good one."""
    response = result.response
    reason = response.finish_reason
    known = reason or (response.provider_details or {}).get("finish_reason")
    if not known and response.provider_name not in (None, "function", "test"):
        return "connection"  # the stream just ended
    return {"length": "length", "content_filter": "refused", "error": "model"}.get(reason)


def described(error: BaseException) -> str:
    """*error* for a log line: classes, a status code and a place, but no text, which may repeat a prompt or a key."""
    causes = [error]
    while len(causes) < 5 and (cause := causes[-1].__cause__ or causes[-1].__context__):
        causes.append(cause)
    place = traceback.extract_tb(error.__traceback__)[-1]
    status = getattr(error, "status_code", "")
    return f"{' < '.join(type(cause).__name__ for cause in causes)} {status} at {place.filename}:{place.lineno}"
