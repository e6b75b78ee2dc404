"""Odd output that real providers and servers were seen to send, by kind.

Each row of a table is a different shape: what the provider does, and what has to come
of it. How a row is judged is in ``test_outside_shapes.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fake_provider import Step, say

CHAT = "openai-chat:gpt-4o"
RESPONSES = "openai:gpt-4o"
ANTHROPIC = "anthropic:claude-sonnet-5-5"

# What the page says of an answer, by the word in its row.
NOTES = {
    "timeout": "The model took too long to answer.",
    "connection": "The connection to the model broke.",
    "busy": "The model is overloaded. Please try again in a moment.",
    "unavailable": ("The model is not available. Please contact the site administrator."),
    "unconfigured": ("The assistant is not configured. Please contact the site administrator."),
    "refused": "The model declined to answer.",
    "limit": "The answer needed more steps than are allowed.",
    "tokens": "The answer reached the token limit for one answer.",
    "length": "The answer was cut off because it grew too long.",
    "cut_off": "The answer was cut off before it was complete.",
    "incomplete": "The answer may be incomplete.",
    "context": ("This conversation is too long for the model. Please start a new one or shorten your question."),
    "budget": "Your budget for today is spent; it is renewed at midnight UTC.",
    "empty": "The model ended without an answer.",
    "tool": "A tool failed.",
    "approval": "The call no longer matches what was approved, so nothing was run.",
    "model": "The model sent something that cannot be understood.",
    "save": "The answer could not be saved completely.",
}
# With these the answer is shown as it is, with a note; with all others it has failed.
DONE = (None, "length", "cut_off", "incomplete", "empty")
CONTINUED = ("length", "cut_off")  # these answers offer to go on
Script = tuple[Step, ...]
UNKNOWN = (None, None)  # tokens
NOTHING_SET = object()


@dataclass(frozen=True)
class Shape:
    """What the provider does in one request after the other, and what comes of it.

    Attributes:
        rounds: A script for each request; the last one is used for all that follow.
        text: The stored answer without whitespace at its ends; None for any.
        shown: How the answer reads on the page, if that is not its text.
        reasoning: A part of the stored reasoning; None if there is none.
        errors: The words that the run may end with; one of them has to be the case.
        tokens: Input and output tokens of the run; None for any.
        calls: Name and status of each tool step.
        ids: The ids of the calls that the next question's request repeats.
        hidden: What neither the page nor the next request contains.
        result: What the tool ``odd`` returns; it exists if this is set.
        settings: Settings of the application that this row needs.
    """

    name: str
    rounds: Sequence[Script]
    text: str | None = "Hello there."
    shown: str | None = None
    reasoning: str | None = None
    errors: tuple[str | None, ...] = (None,)
    tokens: tuple[int | None, int | None] | None = None
    calls: tuple[tuple[str, str], ...] = ()
    ids: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()
    model: str = CHAT
    result: Any = NOTHING_SET
    settings: tuple[tuple[str, Any], ...] = ()


def text(name: str, pieces: Sequence[str], stored: str, **more: Any) -> Shape:
    return Shape(name, [(say(*pieces),)], text=stored, **more)


HELLO = (say("Hello there."),)
USED = (("my_usage", "done"),)
