"""The model is told of a conversation, however long its turns are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from engines import Engine
from fake_provider import (
    FakeProvider,
    call,
    conversation_of,
    end,
    error,
    raw,
    say,
    think,
)
from outside import (
    CALM,
    DIGITS,
    EARLIER,
    LATER,
    MOST_SECONDS,
    QUESTION,
    WORDS,
    Scene,
    a_tool,
    long_text,
    make_scene,
    provider,
    store_turns,
    table,
    verdict,
    within,
)
from shapes import Script
from support import MakeApp

__all__ = ["provider", "table"]
pytestmark = CALM
END = " THE END OF IT."


@dataclass(frozen=True)
class LongTurn:
    """A long turn, and what the next request still tells of the conversation."""

    name: str
    rounds: Sequence[Script]
    told: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    question: str = QUESTION
    characters: float = 4  # that one token holds at most
    result: str = ""  # of the tool ``odd``
    settings: tuple[tuple[str, Any], ...] = ()


# Without usage, by which estimates would be corrected.
UNCOUNTED = end("stop", usage=None)
UNCOUNTED_CALL = end("tool", usage=None)


def answer(length: int, words: str = WORDS) -> list[Script]:
    """An answer of so many characters that ends with END."""
    whole = long_text(length, words) + END
    pieces = [whole[at : at + 5000] for at in range(0, len(whole), 5000)]
    return [(say(*pieces), UNCOUNTED)]


SHORT = (say("A short answer."), UNCOUNTED)
LONG_ARGUMENTS = json.dumps({"value": long_text(120_000)})
LONG_TURNS = [
    LongTurn("an answer of 120,000 characters", answer(120_000), (END,)),
    LongTurn("an answer without spaces", answer(120_000, DIGITS), (END,)),
    LongTurn(
        "an answer of 60,000 Japanese characters",
        answer(60_000, "日本語の文章。"),
        (END,),
        characters=1.7,
    ),
    LongTurn(
        "an answer of 30,000 emoji",
        answer(30_000, "🙂🎉"),
        (END,),
        characters=1,
    ),
    LongTurn(
        "a question of 32,000 characters and a longer answer",
        answer(90_000),
        (END,),
        question=long_text(31_000) + "?",
    ),
    LongTurn(
        "reasoning of 150,000 characters",
        [(think(long_text(150_000, "thinking hard ")), *SHORT)],
        (*EARLIER, QUESTION, "A short answer."),
        ("thinking hard",),
    ),
    LongTurn(
        "reasoning between tags of 150,000 characters",
        [(say("<think>", long_text(150_000, "thinking hard "), "</think>"), *SHORT)],
        (*EARLIER, QUESTION, "A short answer."),
        ("thinking hard",),
    ),
    LongTurn(
        "a tool result of 150,000 characters",
        [(call("odd"), UNCOUNTED_CALL), SHORT],
        (QUESTION, "A short answer."),
        result=long_text(150_000),
    ),
    LongTurn(
        "tool arguments of 120,000 characters",
        [(call("odd", LONG_ARGUMENTS), UNCOUNTED_CALL), SHORT],
        (QUESTION, "A short answer."),
    ),
    LongTurn(
        "eight tool results of 20,000 characters",
        [*[(call("odd", call_id=f"c{n}"), UNCOUNTED_CALL) for n in range(8)], SHORT],
        (QUESTION, "A short answer."),
        result=long_text(20_000),
    ),
    LongTurn(
        "a small budget for history",
        answer(5000),
        (END,),
        settings=(("history_tokens", 200),),
    ),
    LongTurn(
        "a tiny budget for history",
        answer(5000),
        (END,),
        settings=(("history_tokens", 10),),
    ),
]


@pytest.mark.parametrize("row", LONG_TURNS, ids=lambda row: row.name)
def test_the_newest_turn_is_told_however_long_it_is(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: LongTurn,
) -> None:
    scene = make_scene(make_app, provider, **dict(row.settings))
    conversation = store_turns(scene, [EARLIER])
    scene.scripts.add(row.question, *row.rounds)
    with (
        a_tool("odd", row.result),
        verdict(table, "4 history", row.name, engine.name) as judged,
    ):
        scene.begin_neighbour()
        asked = scene.ask(row.question, conversation)
        page = within(2 * MOST_SECONDS, asked.page)
        with judged.on("page"):
            assert page.ending.kind == "done"
            assert scene.run_of(asked).error is None
        with judged.on("stored row"):
            stored = scene.answer_of(asked).text
            assert stored.endswith(("A short answer.", END))
        with judged.on("next question"):
            later = scene.ask(LATER, conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"
            check_told(scene, row)
        with judged.on("neighbour"):
            scene.end_neighbour()


def check_told(scene: Scene, row: LongTurn) -> None:
    told = conversation_of(scene.later_request())
    said = "".join(one.text for one in told)
    for text in row.told:
        assert text in said
    for text in row.dropped:
        assert text not in said
    assert "assistant" in [one.by for one in told]
    assert [one.call_id for one in told if one.by == "call"] == [one.call_id for one in told if one.by == "result"]
    tokens = dict(row.settings).get("history_tokens", 24_000)
    assert len(said) < row.characters * tokens + 2000


def test_of_several_long_turns_the_newest_are_told(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    turns = [(f"Question {n}?", long_text(40_000) + f" END {n}.") for n in range(4)]
    conversation = store_turns(scene, turns)
    within(MOST_SECONDS, scene.ask(LATER, conversation).page)
    said = "".join(one.text for one in conversation_of(scene.later_request()))
    assert "END 3." in said
    assert "END 2." in said
    assert "END 0." not in said


def test_turns_that_failed_do_not_pile_up(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    conversation = store_turns(scene, [EARLIER])
    faults = [
        error(500, {"error": {"message": "x"}}),
        error(400, {"error": {"message": "x"}}),
        raw(b"data: {this is not json\n\n"),
        end("content_filter"),
        end("length"),
    ]
    for number, fault in enumerate(faults):
        question = f"Question {number}?"
        scene.scripts.add(question, (fault,))
        within(MOST_SECONDS, scene.ask(question, conversation).page)
    within(MOST_SECONDS, scene.ask(LATER, conversation).page)
    told = conversation_of(scene.later_request())
    assert not [one for one in told if re.match(r"Question [0-3]\?", one.text)]
    assert [one.text for one in told][:2] == list(EARLIER)
