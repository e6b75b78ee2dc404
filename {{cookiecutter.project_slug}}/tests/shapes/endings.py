"""Reasons for which an answer ends, in the words of providers and servers."""

from __future__ import annotations

from typing import Any

from fake_provider import Step, chunk, end, raw, say

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
        [
            (raw(b'data: {"choices": [{"delta": {"content": "Hello there."}}]}\n\n'),)
            + (FINISHED, Step("close"))
        ],
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
