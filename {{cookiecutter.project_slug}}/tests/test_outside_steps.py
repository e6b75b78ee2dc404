"""After the end of a run no step is open, and a call that was changed never runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from fake_provider import CUT, FakeProvider, call, conversation_of, say
from outside import (
    CALM,
    LATER,
    MOST_SECONDS,
    QUESTION,
    Scene,
    a_tool,
    execute,
    last_answer,
    make_scene,
    provider,
    store_turns,
    table,
    verdict,
    within,
)
from shapes import NOTES, Script
from support import Asked, MakeApp, wait_until

__all__ = ["provider", "table"]
pytestmark = CALM
GONE = (say("That is done."),)
# What someone with access to the database does between the question and the approval.
TAMPERED = {
    "arguments of the step": ('UPDATE tool_calls SET arguments = \'{"title": "decoy"}\'',),
    "a space in the arguments of the step": ("UPDATE tool_calls SET arguments = arguments || ' '",),
    "name of the step": ("UPDATE tool_calls SET name = 'my_usage'",),
    "id of the step": ("UPDATE tool_calls SET call_id = 'call_9'",),
    "arguments of the call": (("UPDATE messages SET model_messages = replace(model_messages, 'victim', 'decoy')"),),
    "name of the call": (
        ("UPDATE messages SET model_messages = replace(model_messages, 'delete_conversation', 'my_usage')"),
    ),
    "id of the call": (("UPDATE messages SET model_messages = replace(model_messages, 'call_0', 'call_9')"),),
    "no messages": ("UPDATE messages SET model_messages = NULL",),
    "no JSON": ("UPDATE messages SET model_messages = '[{' WHERE role = 'assistant'",),
    "an empty list": ("UPDATE messages SET model_messages = '[]' WHERE role = 'assistant'",),
    "both, differently": (
        'UPDATE tool_calls SET arguments = \'{"title": "decoy"}\'',
        ("UPDATE messages SET model_messages = replace(model_messages, 'victim', 'other')"),
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_a_call_that_changed_since_it_was_shown_does_not_run(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    change: str,
) -> None:
    scene = make_scene(make_app, provider)
    for title in ("victim", "decoy"):
        store_turns(scene, [("x", "y")], title)
    with verdict(table, "3 changed calls", change, engine.name) as judged:
        scene.begin_neighbour()
        asked = ask_for_approval(scene, [(delete("victim"),), GONE])
        (form,) = forms(last_answer(scene.ada, asked.conversation))
        execute(scene.app, *TAMPERED[change])
        decide(scene, form, "approve")
        wait_for_end(scene, asked)
        with judged.on("page"):
            loaded = last_answer(scene.ada, asked.conversation)
            assert NOTES["approval"] in loaded
            assert "Using" not in loaded
            assert "Deleted" not in loaded
        with judged.on("stored row"):
            assert scene.run_of(asked).error == "approval"
            assert kept(scene) == ["decoy", "victim"]
            assert {step.status for step in steps_of(scene, asked)} <= FINAL
            assert len(scene.scripts.requests[QUESTION]) == 1
        with judged.on("next question"):
            later = scene.ask(LATER, asked.conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"
        with judged.on("neighbour"):
            scene.end_neighbour()


def stop(scene: Scene, asked: Asked) -> None:
    scene.ada.post(asked.stop)


def drain(scene: Scene, asked: Asked) -> None:
    scene.app.extensions["runner"].begin_drain()
    scene.app.extensions["runner"].finish_drain(0)


def nothing(scene: Scene, asked: Asked) -> None:
    """The answer ends without help."""


@dataclass(frozen=True)
class Unfinished:
    """A step that does not finish: what happens, and how the run ends."""

    name: str
    rounds: Sequence[Script]
    happens: Callable[[Scene, Asked], None] = nothing
    error: str | None = None
    seconds: float = 60  # that the run may take


SLOW = call("slow")
BROKEN = call("broken", call_id="call_2", index=1)
UNFINISHED = [
    Unfinished("stopped while a tool runs", [(SLOW,)], stop),
    Unfinished("interrupted while a tool runs", [(SLOW,)], drain),
    Unfinished("a tool that takes too long", [(SLOW,)], error="timeout", seconds=2),
    Unfinished("a tool that fails", [(call("broken"),)], error="tool"),
    Unfinished("one of two tools fails", [(SLOW, BROKEN)], error="tool"),
    Unfinished("stopped while it waits", [(delete("victim"),)], stop),
    Unfinished(
        "connection lost in the second call",
        [(call("my_usage"), call("my_usage", '{"a', "c2", 1), CUT)],
        error="connection",
    ),
    Unfinished(
        "too many calls",
        [tuple(call("slow", "{}", f"c{n}", n) for n in range(20))],
        error="limit",
    ),
]


def fail() -> None:
    raise RuntimeError("cut in half: \ud83d and \x00")


@pytest.mark.parametrize("row", UNFINISHED, ids=lambda row: row.name)
def test_after_the_end_no_step_reads_as_if_it_were_running(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Unfinished,
) -> None:
    scene = make_scene(make_app, provider, run_timeout_seconds=row.seconds)
    scene.scripts.add(QUESTION, *row.rounds)
    finish = threading.Event()
    with (
        a_tool("slow", lambda: finish.wait(MOST_SECONDS) or "late"),
        a_tool("broken", fail),
        verdict(table, "3 unfinished", row.name, engine.name) as judged,
    ):
        asked = scene.ask()
        if row.happens is not nothing:
            wait_until(lambda: steps_of(scene, asked))
            row.happens(scene, asked)
        wait_for_end(scene, asked)
        finish.set()
        with judged.on("page"):
            shown = last_answer(scene.ada, asked.conversation)
            if row.happens is nothing:  # else the stream has ended early
                shown += within(MOST_SECONDS, asked.page).html
            assert "Using" not in shown
            assert "Wants to use" not in shown
            assert NOTES.get(row.error or "", "") in shown
        with judged.on("stored row"):
            assert scene.run_of(asked).error == row.error
            assert {step.status for step in steps_of(scene, asked)} <= FINAL
        if row.happens is not drain:
            with judged.on("next question"):
                later = scene.ask(LATER, asked.conversation)
                assert within(MOST_SECONDS, later.page).ending.kind == "done"
                told = conversation_of(scene.later_request())
                calls = [one.call_id for one in told if one.by == "call"]
                assert calls == [one.call_id for one in told if one.by == "result"]
