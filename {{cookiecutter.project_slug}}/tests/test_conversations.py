"""Conversations: listing, renaming, deleting, long ones, and the page without JavaScript."""

from __future__ import annotations

import re
import uuid

import pytest
from flask import Flask
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart
from sqlalchemy import update
from support import PAGE, ScriptedModel, Visitor, wait_until

from app.chat.model import history
from app.chat.models import Conversation, Message
from app.chat.runs.titles import first_title
from app.database import db, new_id, now, transaction


def listed(visitor: Visitor) -> list[str]:
    page = visitor.get("/chat").text
    return re.findall(r'<li><a href="/chat/[^"]+"[^>]*>([^<]*)</a></li>', page)


def test_conversations_are_listed_by_last_activity(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = {}
    for text in ("First", "Second"):
        scripted.answer("ok")
        asked[text] = ada.ask(text)
        asked[text].page()
    assert listed(ada) == ["Second", "First"]
    scripted.answer("ok")
    ada.ask("More", asked["First"].conversation).page()
    assert listed(ada) == ["First", "Second"]


def test_renaming(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("ok")
    asked = ada.ask("Old name")
    asked.page()
    assert ada.post(f"{asked.conversation}/rename", PAGE, title="New <b>name</b>").status_code == 303
    assert listed(ada) == ["New &lt;b&gt;name&lt;/b&gt;"]
    assert ada.post(f"{asked.conversation}/rename", title="x" * 201).status_code == 422
    assert ada.post(f"{asked.conversation}/rename", title=" ").status_code == 422


def test_deleting_can_be_undone(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("ok")
    asked = ada.ask("Precious")
    asked.page()
    ada.post(f"{asked.conversation}/delete", PAGE)
    assert ada.get(asked.conversation).status_code == 404
    page = ada.get("/chat").text
    (undo,) = re.findall(r'action="(/chat/[^"]+/restore)"', page)
    assert "Precious" not in page
    ada.post(undo, PAGE)
    assert ada.get(asked.conversation).status_code == 200


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Short\nmore", "Short"),
        ("  x  ", "x"),
        ("word " * 30, "word word word word word word word word word word word word…"),
    ],
)
def test_the_first_title_is_the_beginning_of_the_question(text: str, title: str) -> None:
    assert first_title(text) == title.replace("word…", "wor…") if len(title) > 60 else first_title(text) == title
    assert len(first_title(text)) <= 60


def long_conversation(app: Flask, ada: Visitor, turns: int) -> str:
    with app.app_context(), transaction() as session:
        conversation = Conversation(id=new_id(), user_id=ada.user_id, title="Long")
        session.add(conversation)
        session.flush()
        parent = None
        for number in range(2 * turns):
            role = "assistant" if number % 2 else "user"
            message = Message(
                id=new_id(), conversation_id=conversation.id, user_id=ada.user_id, parent_id=parent, role=role
            )
            message.text = f"{role} {number // 2}"
            session.add(message)
            session.flush()
            parent = message.id
        conversation.head_id = parent
    return f"/chat/{conversation.id}"


def test_a_long_conversation_shows_its_end_and_the_rest_on_demand(app: Flask, ada: Visitor) -> None:
    url = long_conversation(app, ada, 60)
    page = ada.get(url).text
    assert page.count("<article") == 50
    assert "assistant 59" in page
    seen = [page]
    while found := re.findall(rf'href="({url}/earlier/[^"]+)"', seen[-1]):
        seen.append(ada.get(found[0]).text)
        oldest = re.findall(r'id="m([0-9a-f-]+)"', seen[-1])[0]
        if len(re.findall("<article", seen[-1])) == 50:
            seen[-1] += f'href="{url}/earlier/{oldest}"'
    assert [page.count("<article") for page in seen] == [50, 50, 20]
    assert "user 0<" in seen[-1]


def test_without_javascript_the_form_asks_and_the_page_waits(ada: Visitor, scripted: ScriptedModel) -> None:
    page = ada.get("/chat").text
    (key,) = re.findall(r'name="client_key" value="([^"]+)"', page)
    response = ada.post("/chat", PAGE, text="Plain?", client_key=key)
    assert response.status_code == 303
    waiting = ada.get(response.location).text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in waiting
    assert ">Stop<" in waiting
    assert ">Regenerate<" not in waiting
    scripted.answer("Yes, plain.")
    wait_until(lambda: "Yes, plain." in ada.get(response.location).text)
    done = wait_until(lambda: (page := ada.get(response.location).text).count(">Regenerate<") and page)
    assert "refresh" not in done
    scripted.answer("Again.")
    (again,) = re.findall(r'action="(/messages/[^"]+/regenerate)"', done)
    assert ada.post(again, PAGE).location == response.location


def test_questions_are_shown_as_text(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("ok")
    asked = ada.ask("<img src=x onerror=alert(1)> **not bold** \u202egnp")
    asked.page()
    page = ada.get(asked.conversation).text
    assert "&lt;img src=x onerror=alert(1)&gt; **not bold** gnp</div>" in page
    assert "<img src=x" not in page


def test_the_model_is_told_the_earlier_turns(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("Blue.")
    asked = ada.ask("A colour?")
    asked.page()
    scripted.answer("Sea.")
    ada.ask("Where?", asked.conversation).page()
    told = [part.content for message in scripted.asked[-1] for part in message.parts]
    assert told == ["A colour?", "Blue.", "Where?"]


def test_a_regenerated_answer_is_told_only_what_came_before_it(ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("Blue.")
    asked = ada.ask("A colour?")
    asked.page()
    scripted.answer("Red.")
    ada.post(asked.regenerate)
    wait_until(lambda: len(scripted.asked) == 2)
    assert [part.content for message in scripted.asked[-1] for part in message.parts] == ["A colour?"]


def load_history(app: Flask, conversation: str, budget: int) -> list[ModelRequest | ModelResponse]:
    with app.app_context():
        row = db.session.get_one(Conversation, uuid.UUID(conversation.rsplit("/", maxsplit=1)[-1]))
        question = Message(parent_id=row.head_id, text="Next?")
        return history.load(db.session, question, budget).messages


def test_history_keeps_whole_turns_within_its_budget(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.call("my_usage")
    scripted.answer("One conversation.")
    asked = ada.ask("How many?")
    asked.page()
    for number in range(3):
        scripted.answer(f"Answer {number}. " + "x" * 400)
        ada.ask(f"Question {number}?", asked.conversation).page()
    everything = load_history(app, asked.conversation, 100_000)
    calls = [p.tool_call_id for m in everything for p in m.parts if isinstance(p, ToolCallPart)]
    returns = [p.tool_call_id for m in everything for p in m.parts if isinstance(p, ToolReturnPart)]
    assert calls == returns
    assert len(calls) == 1
    newest = everything[-2:]
    for budget in range(50, 2000, 50):
        kept = load_history(app, asked.conversation, budget)
        assert isinstance(kept[0].parts[0], UserPromptPart)
        if budget < 2 * history.tokens_of(newest):  # the newest turn may have been shortened
            assert kept[-1].parts[0].content[-10:] == newest[-1].parts[0].content[-10:]
        else:
            assert kept == everything[len(everything) - len(kept) :]
    assert load_history(app, asked.conversation, 0) == []


@pytest.mark.parametrize(
    "values",
    [{"model_messages": "{broken"}, {"model_schema": 1}, {"model_messages": None, "model_schema": None}],
    ids=["corrupt", "older schema", "missing"],
)
def test_a_row_that_cannot_be_read_is_told_by_its_text(
    app: Flask, ada: Visitor, scripted: ScriptedModel, values: dict[str, object]
) -> None:
    scripted.answer("Blue.")
    asked = ada.ask("A colour?")
    asked.page()
    with app.app_context(), transaction() as session:
        session.execute(update(Message).where(Message.role == "assistant").values(values))
    assert ada.get(asked.conversation).status_code == 200
    scripted.answer("Sea.")
    ada.ask("Where?", asked.conversation).page()
    assert [part.content for message in scripted.asked[-1] for part in message.parts] == [
        "A colour?",
        "Blue.",
        "Where?",
    ]


def test_opening_a_conversation_takes_few_queries_however_long_it_is(app: Flask, ada: Visitor) -> None:
    from sqlalchemy import event

    counts = []
    for turns in (2, 60):
        url = long_conversation(app, ada, turns)
        statements: list[str] = []
        with app.app_context():
            engine = db.engines["reader"]
        listener = lambda *args, seen=statements: seen.append(args[2])  # noqa: E731
        event.listen(engine, "before_cursor_execute", listener)
        ada.get(url)
        event.remove(engine, "before_cursor_execute", listener)
        counts.append(len([s for s in statements if s.startswith(("SELECT", "WITH"))]))
    assert counts[0] == counts[1] <= 7


def test_messages_are_dated_in_utc(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("ok")
    ada.ask().page()
    (first, _) = ada.rows(__import__("sqlalchemy").select(Message.created_at).order_by(Message.id))
    assert first.utcoffset().total_seconds() == 0
    assert abs((now() - first).total_seconds()) < 60
