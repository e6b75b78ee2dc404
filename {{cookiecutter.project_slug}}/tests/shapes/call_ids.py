"""Ids that servers give to tool calls: repeated, missing, empty, long, signed."""

from __future__ import annotations

from typing import Any

from fake_provider import Step, call, chunk, end

from shapes import ANTHROPIC, HELLO, RESPONSES, USED, Script, Shape

# A long id such as gateways make, which carry a signature of the provider in it.
SIGNED = "call_4f1c__thought__" + "RWpBb0FRPT0+/" * 40


def twice(first: str | None, second: str | None) -> list[Script]:
    """Two calls of one response with these ids, then an answer."""
    one = call("my_usage", call_id=first, index=0)
    other = call("search_my_conversations", '{"words": "hay"}', second, 1)
    return [(one, other), HELLO]


BOTH = (("my_usage", "done"), ("search_my_conversations", "done"))
SAME_AGAIN = call("my_usage", call_id="call_0")


def delta(index: int = 0, **fields: Any) -> Step:
    """A chunk with a piece of a tool call."""
    return chunk({"tool_calls": [{"index": index, **fields}]})


BEGUN = {"id": "call_a", "type": "function"}
USAGE_CALL = {"name": "my_usage", "arguments": ""}
LOOK_UP = "search_my_conversations"
CALL_IDS = [
    Shape("usual ids", twice("call_a", "call_b"), calls=BOTH, ids=("call_a", "call_b")),
    Shape("one id twice in a response", twice("x", "x"), calls=BOTH, ids=("x", "x")),
    Shape("empty ids", twice("", ""), calls=BOTH),
    Shape("no ids", twice(None, None), calls=BOTH),
    Shape("an id for the first call only", twice("call_a", None), calls=BOTH),
    Shape("ids of one space", twice(" ", " "), calls=BOTH),
    Shape(
        "one id in two rounds",
        [
            (SAME_AGAIN,),
            (call("search_my_conversations", '{"words": "hay"}', "call_0"),),
            HELLO,
        ],
        calls=BOTH,
        ids=("call_0", "call_0"),
    ),
    Shape(
        "one id in three rounds of the same call",
        [(SAME_AGAIN,), (SAME_AGAIN,), (SAME_AGAIN,), HELLO],
        calls=USED * 3,
        ids=("call_0",) * 3,
    ),
    Shape(
        "the same call twice with one id",
        [(SAME_AGAIN, call("my_usage", call_id="call_0", index=1)), HELLO],
        calls=USED * 2,
        ids=("call_0", "call_0"),
    ),
    Shape(
        "ids that carry a signature",
        twice(SIGNED + "A", SIGNED + "B"),
        calls=BOTH,
        ids=(SIGNED + "A", SIGNED + "B"),
    ),
    Shape(
        "one id for a call with bad arguments and a good one",
        [
            (
                call(LOOK_UP, '{"words": 7}', "x", 0),
                call("my_usage", call_id="x", index=1),
            ),
            HELLO,
        ],
        calls=((LOOK_UP, "failed"), ("my_usage", "done")),
        ids=("x", "x"),
    ),
    Shape(
        "one id for a call of an unknown tool and a good one",
        [(call("nothing", call_id="x"), call("my_usage", call_id="x", index=1)), HELLO],
        calls=(("nothing", "failed"), ("my_usage", "done")),
        ids=("x", "x"),
    ),
    Shape(
        "the id again in every chunk",
        [
            (
                delta(**BEGUN, function=USAGE_CALL),
                delta(id="call_a", function={"arguments": "{"}),
                delta(id="call_a", function={"arguments": "}"}),
                end("tool"),
            ),
            HELLO,
        ],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "an empty id and an empty name in later chunks",
        [
            (
                delta(**BEGUN, function=USAGE_CALL),
                delta(id="", function={"name": "", "arguments": "{}"}),
                end("tool"),
            ),
            HELLO,
        ],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "null for what stays the same in later chunks",
        [
            (
                delta(**BEGUN, function=USAGE_CALL),
                delta(id=None, type=None, function={"name": None, "arguments": "{}"}),
                end("tool"),
            ),
            HELLO,
        ],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "a whole call in one chunk that ends with stop",
        [
            (
                delta(**BEGUN, function={"name": "my_usage", "arguments": "{}"}),
                end("stop"),
            ),
            HELLO,
        ],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "no arguments",
        [(delta(**BEGUN, function={"name": "my_usage"}), end("tool")), HELLO],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "two calls in one chunk",
        [
            (
                chunk({"tool_calls": [{"index": n, "id": "x", "function": USAGE_CALL} for n in range(2)]}),
                end("tool"),
            ),
            HELLO,
        ],
        calls=USED * 2,
        ids=("x", "x"),
    ),
    Shape(
        "text after the call",
        [
            (
                call("my_usage", call_id="call_a"),
                chunk({"content": "Just a moment."}),
                end("tool"),
            ),
            HELLO,
        ],
        text=None,
        shown="Hello there.",
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "one index for two calls with ids of their own",
        [
            (
                call("my_usage", call_id="call_a", index=0),
                call("search_my_conversations", '{"words": "hay"}', "call_b", 0),
            ),
            HELLO,
        ],
        calls=None,
    ),
    Shape(
        "calls without an index",
        [
            (
                call("my_usage", call_id="call_a", index=None),
                call("search_my_conversations", '{"words": "hay"}', "call_b", None),
            ),
            HELLO,
        ],
        calls=BOTH,
        ids=("call_a", "call_b"),
    ),
    Shape(
        "an index that begins at 1",
        [(call("my_usage", call_id="call_a", index=1),), HELLO],
        calls=USED,
        ids=("call_a",),
    ),
    Shape(
        "one id twice, Anthropic",
        twice("toolu_1", "toolu_1"),
        calls=BOTH,
        model=ANTHROPIC,
    ),
    Shape(
        "one id twice, Responses",
        twice("call_1", "call_1"),
        calls=BOTH,
        model=RESPONSES,
    ),
    Shape(
        "one id in two rounds, Responses",
        [(SAME_AGAIN,), (SAME_AGAIN,), HELLO],
        calls=USED * 2,
        ids=("call_0", "call_0"),
        model=RESPONSES,
    ),
    Shape(
        "as many calls as are allowed",
        [tuple(call("my_usage", "{}", f"c{n}", n) for n in range(4)), HELLO],
        calls=USED * 4,
        settings=(("max_tool_calls_per_response", 4),),
    ),
    Shape(
        "more calls than are allowed",
        [tuple(call("my_usage", "{}", f"c{n}", n) for n in range(17)), HELLO],
        text="",
        errors=("limit",),
        calls=None,
    ),
    Shape(
        "more calls than are allowed, without ids",
        [tuple(call("my_usage", "{}", None, n) for n in range(40)), HELLO],
        text="",
        errors=("limit",),
        calls=None,
    ),
]
