"""Reasons for which an answer ends, in the words of providers and servers."""

from __future__ import annotations

from typing import Any

from fake_provider import Step, call, chunk, end, event, raw, say

from shapes import ANTHROPIC, RESPONSES, Shape
from shapes.usage import FINISHED, STOP, part


def ended(reason: Any, *errors: str | None, said: Any = None, **more: Any) -> Shape:
    """An answer that ends for *reason*."""
    name = repr(reason if said is None else said)[:60]
    steps = (say("Hello there."), end(reason))
    return Shape(name, [steps], errors=errors or (None,), **more)


ENDINGS = [
    ended("stop"),
    ended("eos"),
    ended("eos_token"),
    ended("stop_sequence"),
    ended("end_turn"),
    ended("COMPLETE"),
    ended("STOP"),
    ended("length", "length"),
    ended("max_tokens", "length"),
    ended("MAX_TOKENS", "length"),
    ended("model_length", "length"),
    ended("model_context_window_exceeded", "length", "context", "cut_off"),
    ended("abort", "cut_off"),
    ended("cancelled", "cut_off"),
    ended("network_error", "cut_off", "busy"),
    ended("error", "cut_off", "model"),
    ended("insufficient_system_resource", "busy", "cut_off"),
    ended("content_filter", "refused"),
    ended("sensitive", "refused"),
    ended("SAFETY", "refused"),
    ended("PROHIBITED_CONTENT", "refused"),
    ended("guardrail_intervened", "refused"),
    ended("RECITATION", "refused"),
    ended("content_filter: RECITATION", "refused", "incomplete"),
    ended(
        "function_call_filter: MALFORMED_FUNCTION_CALL",
        "model",
        "refused",
        "incomplete",
    ),
    ended("malformed_function_call", "model", "cut_off", "incomplete"),
    ended("ERROR_TOXIC", "refused", "model", "incomplete"),
    ended("ERROR_LIMIT", "length", "model", "incomplete"),
    ended("USER_CANCEL", "cut_off", "incomplete"),
    ended("time_limit", "cut_off", "timeout", "incomplete"),
    ended("repetition_truncation", "length", "cut_off", "incomplete"),
    ended("something_new", "incomplete"),
    ended("OTHER", "incomplete", "cut_off"),
    ended("load", "incomplete", "cut_off"),
    ended("a\nb\x00\ud83d" + "x" * 5000, "incomplete", said="a very long reason"),
    ended(["stop"], None, "incomplete", "model"),
    ended(7, "incomplete", "model"),
    ended(None, None, said="null and [DONE]"),
    ended("", None, said="empty and [DONE]"),
    Shape(
        "the word null in every chunk and [DONE]",
        [(chunk({"content": "Hello there."}, "null"), end("null", usage=None))],
    ),
    Shape(
        "no reason at all and [DONE]",
        [(raw(b'data: {"choices": [{"delta": {"content": "Hello there."}}]}\n\n'),) + (FINISHED, Step("close"))],
    ),
    Shape(
        "tool_calls without a call",
        [(say("Hello there."), end("tool"))],
    ),
    Shape(
        "length inside a tool call",
        [(say("Hello there."), call("my_usage", '{"half'), end("length"))],
        text=None,  # the model may be asked for the whole call
        errors=("length",),
        calls=None,
    ),
    Shape(
        "abort inside a tool call",
        [(say("Hello there."), call("my_usage", '{"half'), end("abort"))],
        text=None,
        errors=("cut_off", "model", "incomplete"),
        calls=None,
    ),
    Shape(
        "comments and pings between the chunks",
        [(say("Hello "), raw(b": PROCESSING\n\n"), raw(b"\n"), say("there."))],
    ),
    Shape(
        "a second [DONE] and more after it",
        [(say("Hello there."), end("stop"), FINISHED, say(" Too late."))],
        hidden=("Too late.",),
    ),
    Shape(
        "stop without [DONE]",
        [(say("Hello there."), end("stop", done=False))],
    ),
    Shape(
        "stop in every chunk",
        [(part("Hello ", finish="stop"), part("there.", finish="stop"), STOP)],
    ),
    Shape(
        "null and neither [DONE] nor usage",
        [(say("Hello there."), end(None, usage=None, done=False))],
        errors=("connection", "cut_off"),
    ),
    ended("max_tokens", "length", said="max_tokens, Anthropic", model=ANTHROPIC),
    ended("refusal", "refused", said="refusal, Anthropic", model=ANTHROPIC),
    ended(
        "model_context_window_exceeded",
        "length",
        "context",
        "cut_off",
        said="context window, Anthropic",
        model=ANTHROPIC,
    ),
    ended("something_new", "incomplete", said="unknown, Anthropic", model=ANTHROPIC),
    Shape(
        "pings and an unknown event, Anthropic",
        [(say("Hello there."), raw(event("ping")), raw(event("new_event", x=1)))],
        model=ANTHROPIC,
    ),
    Shape(
        "an unknown event, Responses",
        [(say("Hello there."), raw(event("response.new", sequence_number=9)))],
        model=RESPONSES,
    ),
    ended("length", "length", said="max_output_tokens, Responses", model=RESPONSES),
    ended("content_filter", "refused", said="filter, Responses", model=RESPONSES),
    ended("something_new", "incomplete", said="unknown, Responses", model=RESPONSES),
    ended(
        None,
        "incomplete",
        "cut_off",
        said="incomplete without a reason, Responses",
        model=RESPONSES,
    ),
]
