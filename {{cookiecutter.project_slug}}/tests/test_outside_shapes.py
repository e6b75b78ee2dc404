"""An odd answer ends well for its user and does not affect any other user.

Each row of the tables in ``shapes`` runs on an application of its own, while another
user of the same process is halfway through an ordinary answer.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from engines import Engine
from fake_provider import FakeProvider, conversation_of, say, wait
from outside import (
    CALM,
    GOES_ON,
    LATER,
    MOST_SECONDS,
    QUESTION,
    Scene,
    a_tool,
    assert_storable,
    columns_of,
    last_answer,
    make_scene,
    provider,
    seen_on,
    squeezed,
    table,
    verdict,
    visible,
    within,
)
from shapes import CONTINUED, DONE, NOTES, NOTHING_SET, UNKNOWN, Shape
from shapes.call_ids import CALL_IDS
from shapes.endings import ENDINGS
from shapes.reasoning import REASONING
from shapes.storable_text import STORABLE_TEXT
from shapes.usage import USAGES
from sqlalchemy import select
from support import FETCH, Asked, MakeApp, Page, Visitor, wait_until

from app.chat.models import DailyUsage, Message, Run, ToolCall

__all__ = ["provider", "table"]
pytestmark = CALM
KINDS = {
    "1 text": STORABLE_TEXT,
    "3 call ids": CALL_IDS,
    "6 usage": USAGES,
    "7 endings": ENDINGS,
    "8 reasoning": REASONING,
}


ROWS = [pytest.param(kind, shape, id=f"{kind}: {shape.name}") for kind, shapes in KINDS.items() for shape in shapes]


@pytest.mark.parametrize(("kind", "shape"), ROWS)
def test_an_odd_answer_ends_well_and_hurts_nobody(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    kind: str,
    shape: Shape,
) -> None:
    settings = {"model": shape.model, **dict(shape.settings)}
    scene = make_scene(make_app, provider, **settings)
    scene.scripts.add(QUESTION, *shape.rounds)
    with ExitStack() as stack:
        if shape.result is not NOTHING_SET:
            stack.enter_context(a_tool("odd", shape.result))
        judged = stack.enter_context(verdict(table, kind, shape.name, engine.name))
        scene.begin_neighbour()
        asked = scene.ask()
        page = within(2 * MOST_SECONDS, asked.page)
        with judged.on("page"):
            check_page(scene, shape, asked, page)
        with judged.on("stored row"):
            check_rows(scene, shape, asked)
        with judged.on("next question"):
            check_next_question(scene, shape, asked)
        with judged.on("neighbour"):
            scene.end_neighbour()


def check_page(scene: Scene, shape: Shape, asked: Asked, page: Page) -> None:
    """What the stream showed, and what the page shows when it is loaded again."""
    run = scene.run_of(asked)
    shown = shape.text if shape.shown is None else shape.shown
    loaded = last_answer(scene.ada, asked.conversation)
    assert page.ending is not None
    footer = page.ending.data["footer"]
    for text in (seen_on(page), visible(loaded)):
        assert squeezed(shown or "") in text
        assert not [hidden for hidden in shape.hidden if squeezed(hidden) in text]
    assert page.ending.kind == run.status
    assert run.error in shape.errors
    note = NOTES.get(run.error or "", "")
    assert note in footer
    assert squeezed(note) in visible(loaded)
    assert ("Continue" in footer) == (run.error in CONTINUED)
    assert "Using" not in page.html + loaded


def check_rows(scene: Scene, shape: Shape, asked: Asked) -> None:
    """What is stored: the answer, how it ended, its steps, and what it counts."""
    message = scene.answer_of(asked)
    run = scene.run_of(asked)
    if shape.text is not None:
        assert message.text.strip() == shape.text
    if shape.reasoning is None:
        assert not (message.reasoning or "").strip()
    else:
        assert shape.reasoning in message.reasoning
    if shape.text is not None or run.error != "length":
        assert run.status == ("done" if run.error in DONE else "error")
    assert run.error in shape.errors
    check_tokens(scene, shape, asked)
    calls = scene.ada.rows(select(ToolCall).where(ToolCall.message_id == message.id).order_by(ToolCall.id))
    if shape.calls is not None:
        assert [(call.name, call.status) for call in calls] == list(shape.calls)
    assert {call.status for call in calls} <= {"done", "failed", "unfinished"}
    for row in (message, run, *calls):
        assert_storable(columns_of(row))
    assert_storable(json.loads(message.model_messages or "[]"))
    check_other_views(scene, shape, asked)


def check_tokens(scene: Scene, shape: Shape, asked: Asked) -> None:
    run = scene.run_of(asked)
    spent = scene.ada.rows(select(DailyUsage.tokens).where(DailyUsage.user_id == scene.ada.user_id))
    assert sum(spent) > 0 or run.status == "error"
    if shape.tokens is None:
        return
    tokens = (run.input_tokens, run.output_tokens)
    assert tokens == shape.tokens
    footer = visible(last_answer(scene.ada, asked.conversation))
    if shape.tokens == UNKNOWN:
        assert "unknowntokens" in footer
    else:
        assert f"{sum(tokens):,}tokens" in footer
        assert spent == [sum(tokens)]


def check_other_views(scene: Scene, shape: Shape, asked: Asked) -> None:
    """The copied source, both exports and search: the answer, and no reasoning."""
    ada = scene.ada
    source = ada.get(f"/messages/{asked.answer_id}/source")
    assert source.text == scene.answer_of(asked).text
    export = ada.get(f"{asked.conversation}/export?format=json")
    assert_storable(json.loads(export.text))
    answer = json.loads(export.text)["messages"][-1]["text"]
    markdown = ada.get(f"{asked.conversation}/export")
    assert markdown.status_code == 200
    for hidden in shape.hidden:
        for text in (source.text, answer, markdown.text):
            assert squeezed(hidden) not in squeezed(text)
    if shape.reasoning:
        found = ada.get(f"/chat/search?q={quote(shape.reasoning)}")
        assert str(asked.answer_id) not in found.text


def check_next_question(scene: Scene, shape: Shape, asked: Asked) -> None:
    """The conversation goes on, and the model is told what it has to know."""
    message = scene.answer_of(asked)
    run = scene.run_of(asked)
    later = scene.ask(LATER, asked.conversation)
    page = within(MOST_SECONDS, later.page)
    assert squeezed(GOES_ON) in seen_on(page)
    assert (page.ending.kind, scene.run_of(later).error) == ("done", None)
    body = scene.later_request()
    assert_storable(body)
    told = conversation_of(body)
    said = squeezed("".join(one.text for one in told if one.by == "assistant"))
    questions = [one.text for one in told if one.by == "user"]
    if message.text and run.status == "done":
        assert questions == [QUESTION, LATER]
        assert squeezed(message.text)[-40:] in said
    elif not message.text and run.status == "error":
        assert questions == [LATER]
    assert not [one for one in told if one.by == "reasoning"]
    everything = squeezed(json.dumps(body, ensure_ascii=False))
    for hidden in shape.hidden:
        assert squeezed(json.dumps(hidden, ensure_ascii=False)[1:-1]) not in everything
    calls = [one.call_id for one in told if one.by == "call"]
    assert calls == [one.call_id for one in told if one.by == "result"]
    if shape.ids is not None:
        assert calls == list(shape.ids)


def test_text_that_was_reasoning_disappears_from_every_open_page(make_app: MakeApp, provider: FakeProvider) -> None:
    scene = make_scene(make_app, provider)
    go_on = threading.Event()
    pieces = (say("Plan: greet.\n\n"), wait(go_on), say("</think>\n\n", "Hello there."))
    scene.scripts.add(QUESTION, pieces)
    asked = scene.ask()
    wait_until(lambda: "Plan" in last_answer(scene.ada, asked.conversation))
    after = scene.answer_of(asked).event_number
    second = Visitor.of(scene.app, scene.ada)
    url = f"{asked.events}?after={after}"
    go_on.set()
    later_events = within(MOST_SECONDS, lambda: second.read(url))
    assert "whole" in [event.kind for event in later_events]
    resumed = Page()
    resumed.items = {0: "<p>Plan: greet.</p>"}
    resumed.last = after
    for event in later_events:
        assert resumed.take(event)
    for page in (resumed, within(MOST_SECONDS, asked.page)):
        assert page.words == ["Hello", "there."]
    assert scene.answer_of(asked).text == "Hello there."


@pytest.mark.parametrize("odd", ["a\x00b", "a\x1bb", "a\ud83db", "\ud83d", "a\r\x0bb"])
def test_what_a_user_writes_is_storable(make_app: MakeApp, provider: FakeProvider, odd: str) -> None:
    scene = make_scene(make_app, provider)
    sent = quote(f"Hello {odd}?".encode("utf-8", "surrogatepass"), safe="")
    key = str(uuid.uuid4())
    token = scene.ada.client.get("/account/csrf", headers=FETCH).json["token"]
    response = scene.ada.client.post(
        "/chat",
        data=f"text={sent}&client_key={key}",
        content_type="application/x-www-form-urlencoded",
        headers=FETCH | {"X-CSRFToken": token},
    )
    assert response.status_code in (201, 400)
    question = scene.ada.rows(select(Message.text).where(Message.role == "user"))
    assert_storable(question)
    assert len(question) == (response.status_code == 201)
    wait_until(lambda: not scene.ada.rows(select(Run.id).where(Run.status != "done")))
    wanted = quote(odd.encode("utf-8", "surrogatepass"), safe="")
    found = scene.ada.client.get(f"/chat/search?q={wanted}", headers=FETCH)
    assert found.status_code in (200, 400, 422)
