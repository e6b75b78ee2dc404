"""Classifies what went wrong with a model call: an exception, or how a response
ended.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.chat.model.budget import AnswerTooLongError, BudgetSpentError, TokenLimitError
from app.chat.models import Failure
from app.config import Settings, key_variables
from app.text import identifier

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse

ENDED_EARLY = "ended_early"  # a key of ModelResponse.metadata
LONGEST_CHAIN = 5  # causes of an exception in a log line
# With one of these the answer counts as failed. With any other it is shown as it is,
# with a note.
FATAL = (
    Failure.CONNECTION,
    Failure.BUSY,
    Failure.REFUSED,
    Failure.CONTEXT,
    Failure.MODEL,
)
# How providers and servers word a request that exceeds the context of the model, where
# they send no code for it: OpenAI and vLLM, Anthropic, Google, Mistral, Bedrock, Groq,
# Cohere, llama.cpp, LM Studio, Ollama, TGI, SGLang, Together.
_CONTEXT_EXCEEDED = re.compile(
    r"context.?length|context.?window|context.?size|maximum context"
    r"|prompt is too long|input is too long|prompt too long|too many tokens"
    r"|input token count|range of input length|maximum prompt length"
    r"|reduce the length|reduce your prompt|prompt.{0,40}exceed"
    r"|exceed.{0,40}(?:token limit|tokens allowed|context)|max_new_tokens. must be"
    r"|longer than the model|greater than the context",
    re.IGNORECASE,
)
_PAYLOAD_TOO_LARGE = 413

# How responses end, in the words of providers and servers, in lower case.
_GOOD_ENDINGS = (
    "stop",
    "stop_sequence",
    "end_turn",
    "end",
    "eos",
    "eos_token",
    "complete",
    "completed",
    "done",
    "finished",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
)
_BAD_ENDINGS = {
    Failure.LENGTH: (
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_length",
        "model_length",
        "token_limit",
    ),
    Failure.CUT_OFF: (
        "abort",
        "aborted",
        "cancel",
        "cancelled",
        "canceled",
        "interrupted",
        "incomplete",
        "preempted",
        "timeout",
    ),
    Failure.REFUSED: (
        "content_filter",
        "content_filtered",
        "refusal",
        "safety",
        "sensitive",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "guardrail_intervened",
        "moderation",
    ),
    Failure.CONTEXT: (
        "model_context_window_exceeded",
        "context_length_exceeded",
        "context_window_exceeded",
        "prompt_too_long",
    ),
    Failure.BUSY: (
        "network_error",
        "insufficient_system_resource",
        "overloaded",
        "server_busy",
        "unavailable",
    ),
    Failure.MODEL: (
        "error",
        "failed",
        "malformed_function_call",
        "unexpected_tool_call",
    ),
}
_NO_ENDINGS = ("", "null", "none", "undefined")
_FAILURE_OF_ENDING = {
    word: failure for failure, words in _BAD_ENDINGS.items() for word in words
}


class NotConfiguredError(Exception):
    """The model cannot be asked with these settings; the text names variable and
    fix.
    """


class StreamCutError(Exception):
    """A response just stopped, without saying that it was complete."""


class ToolError(Exception):
    """A tool raised an exception."""


class TooManyToolCallsError(Exception):
    """One response asked for more tool calls than are allowed."""


class ApprovalChangedError(Exception):
    """A call that was approved is not the one that would run."""


def unpacked(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group and of the groups in it, or *error* itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from unpacked(inner)
    else:
        yield error


def failure_of(error: BaseException) -> Failure:
    """What *error* says about a run. Of a chain of models the last one decides."""
    *_, decisive = unpacked(error)
    if is_context_exceeded(decisive):
        return Failure.CONTEXT
    if isinstance(decisive.__cause__, ValueError):  # it arrived and could not be parsed
        return Failure.MODEL
    for kind, failure in _failures():
        if isinstance(decisive, kind):
            return failure
    return Failure.MODEL


def _failures() -> Iterator[tuple[type[BaseException], Failure]]:
    """Exception classes and what they mean; subclasses come before their bases."""
    from pydantic_ai import exceptions

    yield BudgetSpentError, Failure.BUDGET
    yield AnswerTooLongError, Failure.LENGTH
    yield TokenLimitError, Failure.TOKENS
    yield ToolError, Failure.TOOL
    yield TooManyToolCallsError, Failure.LIMIT
    yield ApprovalChangedError, Failure.APPROVAL
    yield StreamCutError, Failure.CONNECTION
    yield NotConfiguredError, Failure.UNCONFIGURED
    yield exceptions.UsageLimitExceeded, Failure.LIMIT
    yield exceptions.OutputTokenLimitExceeded, Failure.LENGTH
    yield exceptions.ContentFilterError, Failure.REFUSED
    yield exceptions.ModelRequestTimeout, Failure.TIMEOUT
    yield exceptions.ModelTimeoutError, Failure.TIMEOUT
    yield TimeoutError, Failure.TIMEOUT
    yield exceptions.ModelAuthenticationError, Failure.UNCONFIGURED
    yield exceptions.ModelRequestRejectedError, Failure.UNAVAILABLE
    yield exceptions.ModelQuotaExceededError, Failure.UNAVAILABLE
    yield exceptions.ModelRateLimitError, Failure.BUSY
    yield exceptions.ModelUnavailableError, Failure.BUSY
    yield exceptions.ModelServerError, Failure.BUSY
    yield exceptions.ModelAPIError, Failure.CONNECTION
    yield exceptions.UserError, Failure.UNCONFIGURED
    yield ImportError, Failure.UNCONFIGURED


def is_context_exceeded(error: BaseException) -> bool:
    """Whether a provider refused a request because it is too long for the model."""
    from pydantic_ai import exceptions

    if isinstance(error, exceptions.ModelContextWindowExceededError):
        return True
    if not isinstance(error, exceptions.ModelAPIError):
        return False
    too_many_requests = (
        exceptions.ModelRateLimitError,
        exceptions.ModelQuotaExceededError,
    )
    if isinstance(error, too_many_requests):
        return False  # "too many tokens per minute"
    if getattr(error, "status_code", None) == _PAYLOAD_TOO_LARGE:
        return True
    body = getattr(error, "body", None)
    # A provider says it in a sentence only; this is the one place that reads sentences.
    sentences = f"{error.message} {body or ''}"
    return _CONTEXT_EXCEEDED.search(sentences) is not None


def ending_word(response: ModelResponse) -> str:
    """Why a response ended, in the provider's word in lower case; empty for none."""
    details = response.provider_details or {}
    word = str(details.get("finish_reason") or "").lower()
    return "" if word in _NO_ENDINGS else word


def ending_of(response: ModelResponse) -> Failure | None:
    """What is to be said of a response that came to its end; None if that was good."""
    word = ending_word(response)
    reason = response.finish_reason or ""
    for ending in (word, reason):
        if ending in _FAILURE_OF_ENDING:
            return _FAILURE_OF_ENDING[ending]
    # Pydantic AI knows words of providers that are not in our list.
    is_good = word in _GOOD_ENDINGS or reason in ("stop", "tool_call")
    if word and not is_good:
        return Failure.INCOMPLETE
    metadata = response.metadata or {}
    return Failure.CUT_OFF if metadata.get(ENDED_EARLY) else None


def release_frames(error: BaseException) -> None:
    """Free what the frames of an exception hold, such as the whole response.

    Frames and exceptions refer to each other, so they would wait for the collector.
    """
    for inner in unpacked(error):
        for cause in _causes(inner):
            traceback.clear_frames(cause.__traceback__)
    traceback.clear_frames(error.__traceback__)


def _causes(error: BaseException) -> list[BaseException]:
    """The exception, and what led to it."""
    causes = [error]
    while len(causes) < LONGEST_CHAIN:
        cause = causes[-1].__cause__ or causes[-1].__context__
        if cause is None:
            break
        causes.append(cause)
    return causes


def described(error: BaseException, settings: Settings) -> str:
    """*error* for a log line: classes, status codes, a place, and the variable to
    check.

    It contains no text of the exception, which may repeat a prompt or a key, except
    where the text is our own.
    """
    return "; ".join(_described_one(inner, settings) for inner in unpacked(error))


def _described_one(error: BaseException, settings: Settings) -> str:
    from pydantic_ai.exceptions import ModelAuthenticationError

    causes = _causes(error)
    classes = " < ".join(type(cause).__name__ for cause in causes)
    if isinstance(error, NotConfiguredError):
        return f"{classes}: {identifier(str(error), 300)}"
    if isinstance(error, ModelAuthenticationError):
        variables = ", ".join(key_variables(settings, error.model_name))
        classes = f"{classes}: the provider refused {variables or 'the credentials'};"
    status = getattr(error, "status_code", "")
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return f"{classes} {status} at {place}"
