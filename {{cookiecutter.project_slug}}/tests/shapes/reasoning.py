"""Reasoning between tags, in fields of its own, and answers that are about tags."""

from __future__ import annotations

from typing import Any

from fake_provider import call, chunk, say, think

from shapes import ANTHROPIC, RESPONSES, USED, Shape, text

TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
}
THOUGHT = "Plan: greet first."
ANSWER = "Hello there."


def in_pieces(whole: str, length: int) -> list[str]:
    return [whole[at : at + length] for at in range(0, len(whole), length)]


def thought(name: str, *pieces: str, **more: Any) -> Shape:
    """An answer after reasoning between tags."""
    hidden = (THOUGHT, *TAGS, *TAGS.values())
    return Shape(name, [(say(*pieces),)], reasoning=THOUGHT, hidden=hidden, **more)


def literal(name: str, stored: str, shown: str, length: int = 0) -> Shape:
    """An answer about tags, which arrives whole."""
    pieces = in_pieces(stored, length) if length else [stored]
    return text(name, pieces, stored, shown=shown)


def tagged() -> list[Shape]:
    rows = []
    for opening, closing in TAGS.items():
        whole = f"{opening}\n{THOUGHT}\n{closing}\n\n{ANSWER}"
        glued = f"{opening}{THOUGHT}{closing}{ANSWER}"
        rows.append(thought(f"{opening} in one piece", whole))
        rows.append(thought(f"{opening} one character a piece", *whole))
        rows.append(thought(f"{opening} glued, three characters", *in_pieces(glued, 3)))
    return rows


CODE = "Wrap it:\n\n```xml\n<think>\nnotes\n</think>\n```\n\nThat is all."
INLINE = "Write `<think>` first and `</think>` last."
SENTENCE = "The tags <think> and </think> are text here, and so is </think>."
REASONING = [
    *tagged(),
    thought("whitespace before the tag", " \n\n", "<think>", THOUGHT, "</think>", ANSWER),
    thought(
        "the tag glued to text",
        "<think>\nPlan: ",
        "greet first.</think>Hello ",
        "there.",
    ),
    thought("closing tag split", f"<think>{THOUGHT}</th", f"ink>{ANSWER}"),
    thought("closing tag with the answer", "<think>", THOUGHT, f"\n</think>\n\n{ANSWER}"),
    text("empty pair in one piece", ["<think></think>", ANSWER], ANSWER),
    text("empty pair with line breaks", [f"<think>\n\n</think>\n\n{ANSWER}"], ANSWER),
    text("empty pair one character a piece", list(f"<think></think>{ANSWER}"), ANSWER),
    Shape(
        "never closed",
        [(say("<think>", THOUGHT),)],
        text="",
        reasoning=THOUGHT,
        errors=("empty",),
    ),
    thought("a lone closing tag", f"{THOUGHT}\n", "</think>\n", ANSWER),
    thought("a lone closing tag one character a piece", *f"{THOUGHT}\n</think>\n\n{ANSWER}"),
    thought("a lone closing tag after blank lines", f"{THOUGHT}\n\n</think>\n\n{ANSWER}"),
    thought("a lone [/THINK]", f"{THOUGHT}\n[/THINK]\n{ANSWER}"),
    thought("a lone ◁/think▷", f"{THOUGHT}\n", "◁/thi", f"nk▷\n{ANSWER}"),
    Shape(
        "a lone closing tag in the second response",
        [
            (say("Let me look."), call("my_usage")),
            (say(THOUGHT, "\n</think>\n", ANSWER),),
        ],
        text=f"Let me look.\n\n{ANSWER}",
        shown="Let me look.",
        reasoning=THOUGHT,
        calls=USED,
        hidden=(THOUGHT, "</think>"),
    ),
    thought("upper case", f"<THINK>{THOUGHT}</THINK>{ANSWER}"),
    thought("no-break space before the tag", f"\u00a0<think>{THOUGHT}</think>{ANSWER}"),
    thought("two pairs", f"<think>Plan: </think><think>{THOUGHT}</think>\n{ANSWER}"),
    text("nothing but a closing tag before the answer", ["</think>\n\n", ANSWER], ANSWER),
    thought("lines that end with CR LF", f"{THOUGHT}\r\n</think>\r\n\r\n{ANSWER}"),
    thought("spaces around a lone closing tag", f"{THOUGHT}\n </think> \n{ANSWER}"),
    thought("two lone closing tags", f"One.\n</think>\n{THOUGHT}\n</think>\n{ANSWER}"),
    Shape(
        "a lone closing tag at the end",
        [(say(THOUGHT, "\n</think>"),)],
        text="",
        reasoning=THOUGHT,
        errors=("empty",),
        hidden=(THOUGHT, "</think>"),
    ),
    Shape(
        "never closed before a tool call",
        [(say("<think>", THOUGHT), call("my_usage")), (say(ANSWER),)],
        reasoning=THOUGHT,
        calls=USED,
        hidden=(THOUGHT, "<think>"),
    ),
    literal("in a code block", CODE, "<think> notes </think>"),
    literal("in a code block one character a piece", CODE, "<think> notes </think>", 1),
    literal("in inline code", INLINE, "Write <think> first and </think> last.", 1),
    literal("inside a sentence", SENTENCE, SENTENCE, 1),
    literal("inside a sentence, in one piece", SENTENCE, SENTENCE),
    literal("a closing tag inside a sentence", "End it with </think> here.", "</think>"),
    literal("a word that begins like a tag", "<thinner> is no tag.", "<thinner> is no", 1),
    literal("an answer that ends before it is decided", "<thi", "<thi", 1),
    literal("an answer that begins with less than", "< 5 is small.", "< 5 is small.", 1),
    Shape(
        "before a tool call and after it",
        [
            (say("<think>", THOUGHT, "</think>"), call("my_usage")),
            (say("<think>More.</think>", ANSWER),),
        ],
        reasoning=THOUGHT,
        calls=USED,
        hidden=(THOUGHT, "More."),
    ),
    Shape(
        "in a field of its own",
        [(think("Plan: ", "greet first."), say(ANSWER))],
        reasoning=THOUGHT,
        hidden=(THOUGHT,),
    ),
    Shape(
        "in a field called reasoning",
        [(chunk({"reasoning": THOUGHT}), say(ANSWER))],
        reasoning=THOUGHT,
        hidden=(THOUGHT,),
    ),
    Shape(
        "nothing but reasoning",
        [(think(THOUGHT),)],
        text="",
        reasoning=THOUGHT,
        errors=("empty",),
    ),
    Shape(
        "in blocks, Anthropic",
        [(think("Plan: ", "greet first."), say(ANSWER))],
        reasoning=THOUGHT,
        hidden=(THOUGHT,),
        model=ANTHROPIC,
    ),
    Shape(
        "a summary, Responses",
        [(think("Plan: ", "greet first."), say(ANSWER))],
        reasoning=THOUGHT,
        hidden=(THOUGHT,),
        model=RESPONSES,
    ),
]
