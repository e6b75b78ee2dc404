"""An approval is for the call that is shown, whatever ids and arguments it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from approving import (
    FINAL,
    ask_for_approval,
    decide,
    delete,
    forms,
    kept,
    steps_of,
    wait_for_end,
)
from engines import Engine
from fake_provider import FakeProvider, call, conversation_of, say
from outside import (
    CALM,
    LATER,
    MOST_SECONDS,
    QUESTION,
    Scene,
    a_tool,
    last_answer,
    make_scene,
    provider,
    store_turns,
    table,
    verdict,
    within,
)
from shapes import ANTHROPIC, CHAT, RESPONSES, Script
from shapes.call_ids import SIGNED
from support import Asked, MakeApp

__all__ = ["provider", "table"]
pytestmark = CALM
GONE = (say("That is done."),)


@dataclass(frozen=True)
class Approval:
    """Calls that need an approval, and the decisions on them in order."""

    name: str
    rounds: Sequence[Script]
    decisions: tuple[tuple[str, str], ...] = (("victim", "approve"),)
    ids: tuple[str, ...] | None = None
    model: str = CHAT


BOTH = (("victim", "approve"), ("decoy", "deny"))
BOTH_REVERSED = (("decoy", "deny"), ("victim", "approve"))
TWO_OF_ONE_ID = [(delete("victim"), delete("decoy", index=1)), GONE]
APPROVALS = [
    Approval("one call", [(delete("victim"),), GONE], ids=("call_0",)),
    Approval(
        "the id of a call of an earlier round",
        [(call("my_usage", call_id="call_0"),), (delete("victim"),), GONE],
        ids=("call_0", "call_0"),
    ),
    Approval(
        "the id of a call of the same tool in an earlier round",
        [
            (call("search_my_conversations", '{"words": "decoy"}', "call_0"),),
            (call("search_my_conversations", '{"words": "victim"}', "call_0"),),
            (delete("victim"),),
            GONE,
        ],
        ids=("call_0",) * 3,
    ),
    Approval("one id for two calls", TWO_OF_ONE_ID, BOTH, ("call_0", "call_0")),
    Approval(
        "one id for two calls, the other denied first",
        [(delete("decoy"), delete("victim", index=1)), GONE],
        BOTH_REVERSED,
        ("call_0", "call_0"),
    ),
    Approval(
        "one id for a call that needs no approval and one that does",
        [(call("my_usage", call_id="call_0"), delete("victim", index=1)), GONE],
        ids=("call_0", "call_0"),
    ),
    Approval(
        "no ids",
        [(delete("victim", None), delete("decoy", None, 1)), GONE],
        BOTH,
    ),
    Approval("empty ids", [(delete("victim", ""), delete("decoy", "", 1)), GONE], BOTH),
    Approval(
        "an id of 932 characters",
        [(delete("victim", "c" * 932),), GONE],
        ids=("c" * 932,),
    ),
    Approval(
        "an id that carries a signature",
        [(delete("victim", SIGNED),), GONE],
        ids=(SIGNED,),
    ),
    Approval("an id with spaces", [(delete("victim", " a b "),), GONE], ids=(" a b ",)),
    Approval(
        "one call twice with one id",
        [(delete("victim"), delete("victim", index=1)), GONE],
        (("victim", "approve"), ("victim", "deny")),
        ("call_0", "call_0"),
    ),
    Approval("one id for two calls, Anthropic", TWO_OF_ONE_ID, BOTH, model=ANTHROPIC),
    Approval("one id for two calls, Responses", TWO_OF_ONE_ID, BOTH, model=RESPONSES),
    Approval(
        "the id of a call of an earlier round, Responses",
        [(call("my_usage", call_id="call_0"),), (delete("victim"),), GONE],
        model=RESPONSES,
    ),
]


@pytest.mark.parametrize("row", APPROVALS, ids=lambda row: row.name)
def test_a_decision_is_for_the_call_that_is_shown(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Approval,
) -> None:
    scene = make_scene(make_app, provider, model=row.model)
    for title in ("victim", "decoy"):
        store_turns(scene, [("x", "y")], title)
    with verdict(table, "3 approvals", row.name, engine.name) as judged:
        scene.begin_neighbour()
        with judged.on("page"):
            asked = ask_for_approval(scene, row.rounds)
            check_decisions(scene, asked, row)
        with judged.on("stored row"):
            check_steps(scene, asked, row)
        with judged.on("next question"):
            check_history(scene, asked, row)
        with judged.on("neighbour"):
            scene.end_neighbour()


def check_decisions(scene: Scene, asked: Asked, row: Approval) -> None:
    """Each form asks about one call; its decision runs or prevents exactly that one."""
    asking = forms(last_answer(scene.ada, asked.conversation))
    assert {form.tool for form in asking} == {"delete_conversation"}
    titles = [form.arguments["title"] for form in asking]
    assert titles == [title for title, _ in row.decisions]
    assert len({form.url for form in asking}) == len(asking)
    assert kept(scene) == ["decoy", "victim"]
    for form, (_, decision) in zip(asking, row.decisions, strict=True):
        decide(scene, form, decision)
    wait_for_end(scene, asked)
    assert scene.run_of(asked).error is None
    assert kept(scene) == ["decoy"]
    loaded = last_answer(scene.ada, asked.conversation)
    assert "That is done." in loaded
    assert "Using" not in loaded
    assert "Wants to use" not in loaded


def check_steps(scene: Scene, asked: Asked, row: Approval) -> None:
    steps = steps_of(scene, asked)
    decided = [step for step in steps if step.name == "delete_conversation"]
    outcomes = {"approve": "done", "deny": "denied"}
    expected = [(title, outcomes[decision]) for title, decision in row.decisions]
    found = [(json.loads(step.arguments)["title"], step.status) for step in decided]
    assert found == expected
    for step in decided:
        assert ("Deleted" in step.result) == (step.status == "done")
    if row.ids is not None:
        assert [step.call_id for step in steps] == list(row.ids)


def check_history(scene: Scene, asked: Asked, row: Approval) -> None:
    """The provider is told its own ids, and each result belongs to its call."""
    later = scene.ask(LATER, asked.conversation)
    assert within(MOST_SECONDS, later.page).ending.kind == "done"
    after_decision = scene.scripts.requests[QUESTION][-1]
    for body in (after_decision, scene.later_request()):
        told = conversation_of(body)
        calls = [one for one in told if one.by == "call"]
        results = [one for one in told if one.by == "result"]
        assert [one.call_id for one in calls] == [one.call_id for one in results]
        if row.ids is not None:
            assert [one.call_id for one in calls] == list(row.ids)
        outcomes = [
            "Deleted" in result.text
            for wanted, result in zip(calls, results, strict=True)
            if wanted.tool == "delete_conversation"
        ]
        assert outcomes == [decision == "approve" for _, decision in row.decisions]


def test_calls_of_two_users_with_one_id_are_two_calls(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    for title in ("victim", "decoy"):
        store_turns(scene, [("x", "y")], title)
    asked = ask_for_approval(scene, [(delete("victim"),), GONE])
    scene.scripts.add("Bob's", (delete("decoy"),), GONE)
    bobs = scene.bob.ask("Bob's")
    within(MOST_SECONDS, bobs.page)
    (form,) = forms(last_answer(scene.bob, bobs.conversation))
    assert scene.ada.post(form.url, decision="approve").status_code == 404
    assert scene.bob.post(form.url, decision="approve").status_code == 200
    wait_for_end(scene, bobs)
    assert kept(scene) == ["decoy", "victim"]  # Bob has no conversation of that title
    assert scene.run_of(asked).status == "waiting"
    (own,) = forms(last_answer(scene.ada, asked.conversation))
    decide(scene, own, "approve")
    wait_for_end(scene, asked)
    assert kept(scene) == ["decoy"]


@dataclass(frozen=True)
class Shown:
    """Arguments as a model sends them, how the form shows them, and what runs."""

    name: str
    arguments: str
    form: str
    value: Any


LONG = "x" * 5000 + "END"
SHOWN = [
    Shown("plain text", '{"value": "victim"}', "victim", "victim"),
    Shown("zero-width space", '{"value": "a\u200bb"}', r"a\u200bb", "a\u200bb"),
    Shown(
        "zero-width space as an escape",
        r'{"value": "a\u200bb"}',
        r"a\u200bb",
        "a\u200bb",
    ),
    Shown(
        "right-to-left override",
        '{"value": "\u202eexe.x"}',
        r"\u202eexe.x",
        "\u202eexe.x",
    ),
    Shown("Unicode tags", '{"value": "ok\U000e0041"}', r"ok\U000e0041", "ok\U000e0041"),
    Shown("key twice", '{"value": "decoy", "value": "victim"}', "victim", "victim"),
    Shown("exponent", '{"value": 1e2}', "100.0", 100.0),
    Shown(
        "large number",
        '{"value": 12345678901234567890}',
        "12345678901234567890",
        12345678901234567890,
    ),
    Shown(
        "nested",
        '{"value": {"to": ["a", null]}}',
        '{"to": ["a", null]}',
        {"to": ["a", None]},
    ),
    Shown(
        "hidden in a nested value",
        '{"value": ["a\u202eb"]}',
        r'["a\u202eb"]',
        ["a\u202eb"],
    ),
    Shown("markup", '{"value": "<b>x</b>&amp;"}', "<b>x</b>&amp;", "<b>x</b>&amp;"),
    Shown("text as JSON", '{"value": "[1, 2]"}', "[1, 2]", "[1, 2]"),
    Shown("spaces at the ends", '{"value": "  a  "}', "  a  ", "  a  "),
    Shown("long text", json.dumps({"value": LONG}), LONG, LONG),
]


@pytest.mark.parametrize("row", SHOWN, ids=lambda row: row.name)
def test_what_runs_is_what_was_shown(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Shown,
) -> None:
    scene = make_scene(make_app, provider)
    with (
        a_tool("odd", "Done.", requires_approval=True) as ran,
        verdict(table, "3 arguments", row.name, engine.name) as judged,
    ):
        scene.begin_neighbour()
        with judged.on("page"):
            asked = ask_for_approval(scene, [(call("odd", row.arguments),), GONE])
            (form,) = forms(last_answer(scene.ada, asked.conversation))
            assert form.tool == "odd"
            assert form.arguments == {"value": row.form}
            assert ran == []
            decide(scene, form, "approve")
            wait_for_end(scene, asked)
        with judged.on("stored row"):
            assert ran == [row.value]
            assert type(ran[0]) is type(row.value)
            (step,) = steps_of(scene, asked)
            assert json.loads(step.arguments) == {"value": row.value}
        with judged.on("next question"):
            later = scene.ask(LATER, asked.conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"
        with judged.on("neighbour"):
            scene.end_neighbour()


NO_OBJECTS = [
    '"victim"',
    "[1, 2]",
    "null",
    "",
    "7",
    '{"value": 1',
    '{"value": NaN}',
    "{}",
]


@pytest.mark.parametrize("arguments", NO_OBJECTS)
def test_arguments_that_are_no_object_run_as_shown_or_never(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    arguments: str,
) -> None:
    scene = make_scene(make_app, provider)
    scene.scripts.add(QUESTION, (call("odd", arguments),), GONE)
    with (
        a_tool("odd", "Done.", requires_approval=True) as ran,
        verdict(table, "3 arguments", f"not an object: {arguments}", engine.name) as judged,
    ):
        scene.begin_neighbour()
        with judged.on("page"):
            asked = scene.ask()
            page = within(MOST_SECONDS, asked.page)
            assert ran == []
            for form in forms(last_answer(scene.ada, asked.conversation)):
                assert form.arguments in (
                    {},
                    {"arguments": arguments},
                    {"value": "NaN"},
                )
                decide(scene, form, "approve")
            wait_for_end(scene, asked)
            assert page.ending.kind in ("waiting", "done")
        with judged.on("stored row"):
            assert scene.run_of(asked).status == "done"
            assert {step.status for step in steps_of(scene, asked)} <= FINAL
        with judged.on("next question"):
            later = scene.ask(LATER, asked.conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"
        with judged.on("neighbour"):
            scene.end_neighbour()
