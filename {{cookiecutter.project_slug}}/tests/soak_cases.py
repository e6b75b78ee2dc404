"""What the questions of a soak are answered with: odd shapes and ordinary answers.

Both the client (``soak.py``) and the server (``soak_app.py``) read these tables. A
question names its number, its row and the model that it is for.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from approving import delete
from fake_provider import Step, call, end, say, think
from shapes import ANTHROPIC, CHAT, HELLO, NOTHING_SET, RESPONSES, Script, Shape
from shapes.call_ids import CALL_IDS
from shapes.context import FAMILIES, OTHER_REFUSALS
from shapes.endings import ENDINGS
from shapes.reasoning import REASONING
from shapes.storable_text import STORABLE_TEXT
from shapes.usage import USAGES
from test_providers import (
    FAULTS,
    MOMENTS,
    PROTOCOLS,
    RESPONSES_FAULTS,
    WORDS,
    errors_after,
    scripts,
)

MODELS = (CHAT, RESPONSES, ANTHROPIC)
ORDINARY = -1  # the row of a question with an ordinary answer
MARKER = re.compile(r"Question (\d+), row (-?\d+), for ([\w:.-]+)\.")
EACH_LASTS = 3.0  # seconds that an ordinary answer takes at most


@dataclass(frozen=True)
class Approval(Shape):
    """An answer that waits for a decision on one call.

    Attributes:
        decision: ``approve`` or ``deny``.
    """

    decision: str = "approve"


class Marked(NamedTuple):
    """What a question says about itself."""

    number: int
    row: int
    model: str


def question(number: int, row: int, model: str) -> str:
    return f"Question {number}, row {row}, for {model}."


def marked(text: str) -> Marked | None:
    """What *text* says if it is, or quotes, a question of a soak."""
    found = MARKER.search(text)
    return Marked(int(found[1]), int(found[2]), found[3]) if found else None


class Pause(NamedTuple):
    """Time that passes in the middle of an answer; the provider waits for it."""

    seconds: float

    def wait(self, patience: float) -> None:
        time.sleep(min(self.seconds, patience))


def _refusals() -> Iterator[Shape]:
    for refusal in (*FAMILIES, *OTHER_REFUSALS):
        yield Shape(
            f"refused: {refusal.name}",
            [refusal.steps],
            text=None,
            errors=(refusal.error,),
            calls=None,
            model=refusal.model,
        )


def _faults() -> Iterator[Shape]:
    for protocol, model in PROTOCOLS.items():
        faults = FAULTS | (RESPONSES_FAULTS if protocol == "responses" else {})
        for name, (step, errors) in faults.items():
            for moment in MOMENTS:
                rounds = scripts(protocol, step, moment)
                if step.kind == "call":
                    rounds = [*rounds, HELLO]
                yield Shape(
                    f"{name}, {moment}, {protocol}",
                    rounds,
                    text=None,
                    shown="" if moment == "before the first word" else WORDS,
                    errors=errors_after(step, moment, errors),
                    calls=None,
                    model=model,
                )


def _approvals() -> Iterator[Shape]:
    missing = delete("A title that no conversation has")
    for model in MODELS:
        for decision, status in (("approve", "done"), ("deny", "denied")):
            yield Approval(
                f"a call that needs approval: {decision}, {model}",
                [(missing,), HELLO],
                calls=(("delete_conversation", status),),
                model=model,
                decision=decision,
            )


def _long_answers() -> Iterator[Shape]:
    """Answers that are long, or that take long to render or to find a limit in."""
    contents = {
        "50,000 characters without spaces": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQ" * 1_850,
        "25,000 Japanese characters": "日本語の文章。" * 3_570,
        "15,000 emoji": "🙂🎉" * 7_500,
        "beginnings of 15,000 images": "![" * 15_000,
        "20,000 characters of C#": "```csharp\n" + "int a = b < c;\n" * 1_333 + "```",
    }
    for name, text in contents.items():
        yield Shape(name, [(say(*_cut(text)),)], text=text, shown="")
    thought = "thinking hard " * 3_500
    yield Shape(
        "reasoning of 49,000 characters",
        [(think(*_cut(thought)), *HELLO)],
        reasoning=thought.strip(),
        hidden=("thinking hard",),
    )
    yield Shape(
        "more tokens than one answer may have",
        [(call("my_usage"), end("tool", usage=(900_000, 900_000))), HELLO],
        text=None,
        errors=("tokens",),
        calls=None,
    )


def _cut(text: str, length: int = 500) -> list[str]:
    return [text[begin : begin + length] for begin in range(0, len(text), length)]


def _fits_one_server(shape: Shape) -> bool:
    """Whether a row needs no limit of tokens that other rows cannot bear."""
    return "max_tokens_per_run" not in dict(shape.settings)


TABLES = (
    *STORABLE_TEXT,
    *CALL_IDS,
    *ENDINGS,
    *REASONING,
    *USAGES,
    *_refusals(),
    *_faults(),
    *_approvals(),
    *_long_answers(),
)
ROWS = tuple(filter(_fits_one_server, TABLES))
# What the tool ``odd`` returns, by the row of the question.
TOOL_RESULTS = {row: shape.result for row, shape in enumerate(ROWS) if shape.result is not NOTHING_SET}


def is_bad(shape: Shape) -> bool:
    """Whether an answer of this shape cannot end as a complete one."""
    return None not in shape.errors


def ordinary(number: int) -> Shape:
    """An answer of its own for a question: long, with Markdown, maybe with a tool."""
    chance = random.Random(number)
    text = _markdown(number, chance)
    rounds: list[Script] = [tuple(_in_pieces(text, chance))]
    shape = Shape(
        "ordinary",
        rounds,
        text=text,
        shown=f"This ends answer {number}.",
        model=chance.choice(MODELS),
    )
    kind = chance.randrange(3)
    if kind == 1:
        beginning = (say("Let me look."), call("my_usage"))
        return replace(
            shape,
            rounds=[beginning, *rounds],
            text=f"Let me look.\n\n{text}",
            calls=(("my_usage", "done"),),
        )
    if kind == 2:
        thought = f"Thought {number}."
        return replace(
            shape,
            rounds=[(think(thought), *rounds[0])],
            reasoning=thought,
            hidden=(thought,),
        )
    return shape


def _markdown(number: int, chance: random.Random) -> str:
    blocks = [f"Answer {number} begins here."]
    for block in range(chance.randint(1, 12)):
        words = " ".join(f"w{block}x{word}" for word in range(chance.randint(5, 60)))
        code = f"```python\nanswer_{number} = {block}\n```"
        items = f"- one of {number}\n- two of {number}"
        blocks.append(chance.choice((words, words, f"## Part {block}", code, items)))
    return "\n\n".join([*blocks, f"This ends answer {number}."])


def _in_pieces(text: str, chance: random.Random) -> Iterator[Step]:
    """*text* in deltas of different length, with pauses between some of them."""
    longest = chance.choice((4, 20, 200))
    pieces = []
    begin = 0
    while begin < len(text):
        length = chance.randint(1, longest)
        pieces.append(text[begin : begin + length])
        begin += length
    pauses = chance.randint(1, 4)
    share = len(pieces) // pauses + 1
    for begin in range(0, len(pieces), share):
        yield say(*pieces[begin : begin + share])
        yield Step("wait", Pause(chance.random() * EACH_LASTS / pauses))
