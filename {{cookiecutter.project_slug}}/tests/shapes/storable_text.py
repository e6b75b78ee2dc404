"""Text, names and identifiers that a database or JSON cannot hold as they are."""

from __future__ import annotations

from fake_provider import call, chunk, error, raw, say, think

from shapes import ANTHROPIC, HELLO, RESPONSES, USED, Shape, text

SMILE = "\N{SLIGHTLY SMILING FACE}"
HIGH = "\ud83d"
LOW = "\ude42"
LOST = "\N{REPLACEMENT CHARACTER}"
FAMILY = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
ODD = (("odd", "done"),)

STORABLE_TEXT = [
    text("lone high surrogate", ["a ", HIGH, " b"], f"a {LOST} b"),
    text("nothing but a high surrogate", [HIGH], LOST),
    text("lone low surrogate", ["a ", LOW, " b"], f"a {LOST} b"),
    text("emoji split into two deltas", ["a ", HIGH, LOW, " b"], f"a {SMILE} b"),
    text("emoji split after other text", [f"a {HIGH}", f"{LOW} b"], f"a {SMILE} b"),
    text("emoji split by an empty delta", ["a ", HIGH, "", LOW], f"a {SMILE}"),
    text("surrogates the wrong way round", ["a ", LOW + HIGH, " b"], f"a {LOST * 2} b"),
    text("two high surrogates and a low one", [HIGH, HIGH, LOW], LOST + SMILE),
    text("high surrogate at the end", ["a ", HIGH], f"a {LOST}"),
    text("joined emoji, piece by piece", list(FAMILY), FAMILY),
    text("NUL inside a word", ["He\x00llo", "\x00 there.\x00"], "Hello there."),
    text("terminal codes", ["\x1b[31mred\x1b[0m\x07 \x08x"], "[31mred[0m x"),
    text("C1 controls and DEL", ["a\x9b\x85\x7fb"], "ab"),
    text("carriage returns and tabs", ["a\r\n", "b\tc"], "a\nb\tc", shown="a b c"),
    text("emoji split, Anthropic", [HIGH, LOW], SMILE, model=ANTHROPIC),
    text("lone surrogate, Anthropic", ["a ", HIGH], f"a {LOST}", model=ANTHROPIC),
    text("emoji split, Responses", [HIGH, LOW], SMILE, model=RESPONSES),
    text("lone surrogate, Responses", ["a ", HIGH], f"a {LOST}", model=RESPONSES),
    Shape(
        "surrogates in the reasoning",
        [(think("I see ", HIGH, LOW, " and ", HIGH, "\x00."), say("Hello there."))],
        reasoning=f"I see {SMILE} and {LOST}",
        hidden=("I see",),
    ),
    Shape(
        "high surrogate at the end of the reasoning",
        [(think("I see ", HIGH), say("Hello there."))],
        reasoning=f"I see {LOST}",
        hidden=("I see",),
    ),
    Shape(
        "high surrogate at the end of a block, Anthropic",
        [(say("a", HIGH), say("b"))],
        text=None,  # blocks may be paragraphs
        shown=f"a{LOST}b",
        model=ANTHROPIC,
    ),
    Shape(
        "high surrogate before a tool call, low one after it",
        [(say("a ", HIGH), call("my_usage")), (say(LOW, " b"),)],
        text=f"a {LOST}\n\n{LOST} b",
        shown=f"a {LOST}",
        calls=USED,
    ),
    Shape(
        "tool arguments with a lone surrogate",
        [(call("search_my_conversations", '{"words": "hay' + HIGH + '"}'),), HELLO],
        calls=(("search_my_conversations", "done"),),
    ),
    Shape(
        "tool arguments with an escaped surrogate and NUL",
        [
            (call("search_my_conversations", r'{"words": "hay\ud83d \u0000 x"}'),),
            HELLO,
        ],
        calls=None,
    ),
    Shape(
        "tool-call id of 932 characters",
        [(call("my_usage", call_id="call_" + "x" * 927),), HELLO],
        calls=USED,
        ids=("call_" + "x" * 927,),
    ),
    Shape(
        "tool-call id with NUL and a lone surrogate",
        [(call("my_usage", call_id=f"call\x00_{HIGH}"),), HELLO],
        calls=USED,
    ),
    Shape(
        "tool name of 900 characters",
        [(call("x" * 900),), HELLO],
        calls=None,
    ),
    Shape(
        "tool name with NUL, a surrogate and line breaks",
        [(call(f"my\x00usage\n{HIGH}"),), HELLO],
        calls=None,
    ),
    Shape("tool without a name", [(call(""),), HELLO], calls=None),
    Shape(
        "tool result with a lone surrogate",
        [(call("odd"),), HELLO],
        calls=ODD,
        result=f"cut in half: {HIGH}",
    ),
    Shape(
        "tool result with NUL and control characters",
        [(call("odd"),), HELLO],
        calls=ODD,
        result="a\x00b\x1b[0m",
    ),
    Shape(
        "tool result with odd keys and values",
        [(call("odd"),), HELLO],
        calls=ODD,
        result={f"key{HIGH}": [f"\x00{LOW}", {"deep": f"{HIGH}\x00"}]},
    ),
    Shape(
        "tool result of a million characters",
        [(call("odd"),), HELLO],
        calls=ODD,
        result="words " * 170_000,
        errors=(None, "context"),
    ),
    Shape(
        "response id with NUL and a surrogate",
        [
            (
                chunk({"content": "Hello there."}, id=f"c\x00{HIGH}"),
                chunk({}, "stop", id=f"c\x00{HIGH}", service_tier=f"x\x00{LOW}"),
                raw(b"data: [DONE]\n\n"),
            )
        ],
    ),
    Shape(
        "refusal with NUL and a surrogate",
        [(chunk({"refusal": f"No\x00 {HIGH}"}), chunk({}, "stop"))],
        text="",
        errors=("refused",),
    ),
    Shape(
        "error message with NUL and a surrogate",
        [(error(400, {"error": {"message": f"No\x00 {HIGH}", "code": f"\x00{LOW}"}}),)],
        text="",
        errors=("unavailable",),
    ),
    Shape(
        "tool arguments with odd keys",
        [
            (call("odd", '{"value": {"k' + HIGH + r'": "\u0000", "\ud83d": 1}}'),),
            HELLO,
        ],
        calls=ODD,
        result="Done.",
    ),
    Shape(
        "model name with NUL, a surrogate and 900 characters",
        [
            (
                chunk({"content": "Hello there."}, model=f"\x00{HIGH}" + "m" * 900),
                chunk({}, "stop", model=f"\x00{HIGH}" + "m" * 900),
                raw(b"data: [DONE]\n\n"),
            )
        ],
    ),
]
