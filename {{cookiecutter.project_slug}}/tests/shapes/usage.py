"""Token counts as servers report them: in the last chunk, in each, twice or never."""

from __future__ import annotations

from typing import Any

from fake_provider import USAGE, Step, call, chat_usage, chunk, end, raw, say

from shapes import (
    ANTHROPIC,
    HELLO,
    NOTHING_SET,
    RESPONSES,
    UNKNOWN,
    USED,
    Shape,
)


def counted(name: str, *steps: Step, tokens: tuple[int | None, int | None] | None, **more: Any) -> Shape:
    return Shape(name, [steps], tokens=tokens, **more)


def part(piece: str, usage: Any = NOTHING_SET, finish: str | None = None) -> Step:
    """A chunk of text that reports usage as well."""
    fields = {} if usage is NOTHING_SET else {"usage": usage}
    return chunk({"content": piece}, finish, **fields)


def totals(prompt: int, completion: int) -> dict[str, int]:
    return chat_usage((prompt, completion))


FINISHED = raw(b"data: [DONE]\n\n")
STOP = end("stop", usage=None)
USAGES = [
    counted("in the last chunk", say("Hello there."), tokens=USAGE),
    counted("none", say("Hello there."), STOP, tokens=UNKNOWN),
    counted(
        "null in every chunk",
        part("Hello ", None),
        part("there.", None),
        STOP,
        tokens=UNKNOWN,
    ),
    counted("zero", say("Hello there."), end("stop", usage=(0, 0)), tokens=UNKNOWN),
    counted(
        "zero in every chunk, then the numbers",
        part("Hello ", totals(0, 0)),
        part("there.", totals(0, 0)),
        end("stop", usage=(20, 10)),
        tokens=(20, 10),
    ),
    counted(
        "running totals in every chunk",
        part("Hello ", totals(20, 1)),
        part("the", totals(20, 2)),
        part("re.", totals(20, 3), "stop"),
        FINISHED,
        tokens=(20, 3),
    ),
    counted(
        "running totals, and once more at the end",
        part("Hello ", totals(20, 4)),
        part("there.", totals(20, 10)),
        end("stop", usage=(20, 10)),
        tokens=(20, 10),
    ),
    counted(
        "running totals with gaps",
        part("Hello ", totals(20, 4)),
        part("there."),
        STOP,
        tokens=(20, 4),
    ),
    counted(
        "twice the same",
        say("Hello there."),
        chunk({}, "stop", usage=totals(20, 10)),
        chunk({}, choices=[], usage=totals(20, 10)),
        FINISHED,
        tokens=(20, 10),
    ),
    counted(
        "with the finish reason",
        say("Hello there."),
        chunk({}, "stop", usage=totals(20, 10)),
        FINISHED,
        tokens=(20, 10),
    ),
    counted(
        "after the finish reason, with null choices",
        say("Hello there."),
        chunk({}, "stop"),
        chunk({}, choices=None, usage=totals(20, 10)),
        FINISHED,
        tokens=(20, 10),
    ),
    counted(
        "an empty object",
        say("Hello there."),
        chunk({}, "stop", usage={}),
        FINISHED,
        tokens=UNKNOWN,
    ),
    counted(
        "in a field of another name",
        say("Hello there."),
        chunk({}, "stop", x_groq={"usage": totals(20, 10)}),
        FINISHED,
        tokens=None,
    ),
    counted(
        "with details that are null",
        say("Hello there."),
        chunk(
            {},
            "stop",
            usage=totals(20, 10) | {"prompt_tokens_details": None, "completion_tokens_details": None},
        ),
        FINISHED,
        tokens=(20, 10),
    ),
    counted(
        "with null inside the details",
        say("Hello there."),
        chunk(
            {},
            "stop",
            usage=totals(20, 10)
            | {
                "prompt_tokens_details": {"cached_tokens": None},
                "completion_tokens_details": {"reasoning_tokens": None},
            },
        ),
        FINISHED,
        tokens=(20, 10),
    ),
    counted(
        "a total alone",
        say("Hello there."),
        chunk({}, "stop", usage={"total_tokens": 30}),
        FINISHED,
        tokens=None,
    ),
    counted(
        "null instead of numbers",
        say("Hello there."),
        chunk({}, "stop", usage=dict.fromkeys(totals(0, 0))),
        FINISHED,
        tokens=UNKNOWN,
    ),
    counted(
        "input only",
        say("Hello there."),
        end("stop", usage=(20, 0)),
        tokens=None,
    ),
    counted(
        "negative",
        say("Hello there."),
        end("stop", usage=(-1, -1)),
        tokens=UNKNOWN,
    ),
    counted(
        "larger than a column",
        say("Hello there."),
        end("stop", usage=(10**12, 10**12)),
        tokens=None,
        errors=(None, "tokens"),
    ),
    counted(
        "numbers as texts",
        say("Hello there."),
        chunk({}, "stop", usage={"prompt_tokens": "20", "completion_tokens": "10"}),
        FINISHED,
        tokens=None,
    ),
    Shape(
        "of two rounds",
        [(call("my_usage"),), HELLO],
        calls=USED,
        tokens=(40, 20),
    ),
    Shape(
        "of the second round only",
        [(call("my_usage"), end("tool", usage=None)), HELLO],
        calls=USED,
        tokens=UNKNOWN,
    ),
    Shape(
        "none, with a tool call",
        [(call("my_usage"), end("tool", usage=None)), (say("Hello there."), STOP)],
        calls=USED,
        tokens=UNKNOWN,
    ),
    Shape(
        "of an answer over its token limit",
        [(call("my_usage"), end("tool", usage=(9000, 9000))), HELLO],
        text=None,
        errors=("tokens",),
        calls=None,
        settings=(("max_tokens_per_run", 10_000),),
    ),
    counted(
        "none, Responses",
        say("Hello there."),
        STOP,
        tokens=UNKNOWN,
        model=RESPONSES,
    ),
    counted("known, Responses", say("Hello there."), tokens=USAGE, model=RESPONSES),
    counted("known, Anthropic", say("Hello there."), tokens=USAGE, model=ANTHROPIC),
]
