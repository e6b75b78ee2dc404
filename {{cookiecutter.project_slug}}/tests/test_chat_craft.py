"""What people do with a conversation: search, edit, compare versions, rate, copy, export."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sqlalchemy import select, text
from support import FETCH, PAGE, Asked, MakeApp, ScriptedModel, Visitor, the_answer, the_run
from test_jobs import work_off

from app.chat.models import Conversation, Feedback, Message
from app.chat.runs import titles
from app.database import transaction
from app.security.markdown import inert_source


def talk(visitor: Visitor, scripted: ScriptedModel, question: str, answer: str, where: str = "/chat") -> Asked:
    scripted.answer(answer)
    asked = visitor.ask(question, where)
    asked.page()
    return asked


def found(visitor: Visitor, words: str) -> list[str]:
    listed = visitor.client.get("/chat/search", query_string={"q": words}, headers=FETCH).json["list"]
    return re.findall(r'href="([^"]+)"', listed)


def test_search_finds_every_word_in_ones_own_questions_and_answers(
    ada: Visitor, bob: Visitor, scripted: ScriptedModel
) -> None:
    first = talk(ada, scripted, "How do I bake bread?", "Knead the dough, then wait. Übung macht den Meister.")
    talk(bob, scripted, "My dough?", "Secret dough.")
    assert [url.split("#")[0] for url in found(ada, "dough")] == [first.conversation]
    assert len(found(ada, "bread")) == 1
    assert len(found(ada, "KNEAD doug")) == 1  # any case, the beginnings of words
    assert len(found(ada, "übung")) == 1
    assert found(ada, "dough bread") == []  # not in one message
    assert found(ada, "secret") == []
    for odd in ('"', "*", "' OR 1=1 --", "a AND", "NEAR(", "text:", "user_id:x", "%", "\\", "()", "-dough"):
        assert ada.client.get("/chat/search", query_string={"q": odd}, headers=FETCH).status_code == 200
    page = ada.get("/chat/search?q=dough").text
    assert "<mark>dough</mark>" in page
    assert ada.get("/chat/search?q=" + "x" * 201, FETCH).status_code == 422
    ada.post(f"{first.conversation}/delete", PAGE)
    assert found(ada, "dough") == []
    ada.post(f"{first.conversation}/restore", PAGE)
    assert len(found(ada, "dough")) == 1


def test_search_without_words_is_the_list_of_the_newest(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Hello there", "Hi.")
    assert found(ada, "") == [asked.conversation]


def test_what_is_deleted_leaves_the_index(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    talk(ada, scripted, "Where is the treasure?", "Under the oak.")
    with app.app_context(), transaction() as session:
        session.delete(session.scalars(select(Conversation)).one())
    assert ada.rows(text("SELECT count(*) FROM message_search")) == [0]


def test_an_edited_question_is_asked_anew_and_both_versions_stay(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    asked = talk(ada, scripted, "First wording", "First answer.")
    follow_up = talk(ada, scripted, "Follow-up", "More.", asked.conversation)
    question = ada.rows(select(Message).where(Message.text == "First wording"))[0]
    scripted.answer("Second answer.")
    response = ada.post(f"/messages/{question.id}/edit", text="Second wording", client_key=str(uuid.uuid4()))
    assert response.status_code == 201
    Asked(ada, response).page()
    assert len(scripted.asked[-1]) == 1  # the model is not told of the other version
    page = ada.get(asked.conversation).text
    assert "Second answer." in page
    assert "First answer." not in page
    assert "2 of 2" in page
    earlier = re.search(r'data-show="([^"]+)"', page)[1]
    assert ada.post(earlier).json["url"] == f"{asked.conversation}#m{question.id}"
    page = ada.get(asked.conversation).text
    assert page.index("First wording") < page.index("First answer.") < page.index("Follow-up") < page.index("More.")
    assert "1 of 2" in page
    assert follow_up.conversation == asked.conversation


def test_regenerated_answers_can_be_compared(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Why?", "Because.")
    scripted.answer("Therefore.")
    response = ada.post(asked.regenerate)
    assert "2 of 2" in response.json["messages"]
    Asked(ada, response).page()
    busy_with = ada.post(f"/messages/{the_answer(ada.app).id}/regenerate")
    assert ada.post(f"/messages/{asked.answer_id}/show").status_code == 409
    scripted.answer("Hence.")
    Asked(ada, busy_with).page()
    assert ada.post(f"/messages/{asked.answer_id}/show", PAGE).status_code == 303
    page = ada.get(asked.conversation).text
    assert "Because." in page
    assert "Therefore." not in page
    assert "1 of 3" in page


def test_feedback_is_kept_changed_and_taken_back(ada: Visitor, bob: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Why?", "Because.")
    url = f"/messages/{asked.answer_id}/feedback"
    assert ada.post(url, rating="1").status_code == 204
    assert 'data-rate="1" aria-pressed="true"' in ada.get(asked.conversation).text
    assert ada.post(url, rating="-1", reason="Too short").status_code == 204
    row = ada.rows(select(Feedback))[0]
    assert (row.rating, row.reason) == (-1, "Too short")
    assert ada.post(url, rating="0").status_code == 204
    assert ada.rows(select(Feedback)) == []
    for bad in ("2", "", "x"):
        assert ada.post(url, rating=bad).status_code == 422
    assert bob.post(url, rating="1").status_code == 404
    assert ada.post(f"/messages/{the_answer(ada.app).parent_id}/feedback", rating="1").status_code == 404


def test_an_answer_can_be_copied_as_it_was_written(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Why?", "**Because** `x`.")
    response = ada.get(f"/messages/{asked.answer_id}/source", {"Accept": "text/plain"})
    assert (response.text, response.mimetype) == ("**Because** `x`.", "text/plain")


HOSTILE = "Look:\n\n![x](https://evil.example/?q=1) <img src=x onerror=alert(1)>\n\n[go](javascript:alert(1))\n\nbye"


def test_a_conversation_is_exported_as_markdown_and_json(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Show <b>me</b>: Ł/b", HOSTILE)
    response = ada.get(f"{asked.conversation}/export")
    assert response.mimetype == "text/markdown"
    # Servers refuse a header that is not Latin-1.
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''Show-b-me-b-%C5%81-b.md"
    assert "## You" in response.text
    assert active(response.text) == []
    whole = json.loads(ada.get(f"{asked.conversation}/export?format=json").text)
    assert [message["role"] for message in whole["messages"]] == ["user", "assistant"]
    assert whole["messages"][1]["run"]["status"] == "done"
    assert active(whole["messages"][1]["text"]) == []
    assert ada.get(f"{asked.conversation}/export?format=exe", FETCH).status_code == 422


def test_reasoning_is_no_part_of_an_answer_and_has_its_own_place_in_json(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    scripted.call("my_usage")
    asked = talk(ada, scripted, "Why?", "Because.")
    with app.app_context(), transaction() as session:
        session.get_one(Message, asked.answer_id).reasoning = "Let me see. <b>Hm.</b>"
    assert ada.get(f"/messages/{asked.answer_id}/source", {"Accept": "text/plain"}).text == "Because."
    assert "Let me see" not in ada.get(f"{asked.conversation}/export").text
    assert "Let me see" not in ada.get(asked.conversation).text
    whole = json.loads(ada.get(f"{asked.conversation}/export?format=json").text)
    question, answer = whole["messages"]
    assert question["reasoning"] is None
    assert answer["text"] == "Because."
    assert answer["reasoning"].startswith("Let me see.")
    assert active(answer["reasoning"]) == []
    (call,) = answer["tool_calls"]
    assert call["name"] == "my_usage"
    assert not {"response", "position", "message_id"} & call.keys()


def active(source: str) -> list[str]:
    """What a viewer that understands everything would run, load or link to."""
    tokens = [child for block in MarkdownIt().parse(source) for child in [block, *(block.children or ())]]
    return [
        token.type
        for token in tokens
        if token.type in ("html_block", "html_inline", "image")
        or (token.type == "link_open" and not re.match("https?:|mailto:", str(token.attrs["href"])))
    ]


PIECES = st.sampled_from(
    (
        "<b> </b> <script> ![ [ ] ( ) ](javascript:x) ](https://a.example) ` `` ``` ~~~ > - \\ <!-- --> <javascript:x> "
        "[r]: [r] data:x <a\nhref='x'> # text | &lt;"
    ).split(" ")
    + ["\n", "\n\n", "    "]
)


@given(st.lists(PIECES, max_size=16).map(" ".join))
def test_exported_source_is_inert(source: str) -> None:
    assert active(inert_source(source)) == []


@pytest.mark.parametrize(
    "source", ["a < b", "`<b>`", "```html\n<b>\n```", "[x](https://a.example) **b**", "1. a\n2. b"]
)
def test_harmless_source_stays_as_it_is(source: str) -> None:
    assert inert_source(source) == source


def test_the_model_names_a_conversation_unless_its_user_has(make_app: MakeApp, scripted: ScriptedModel) -> None:
    app = make_app(model="openai:gpt-5.2", openai_base_url="http://127.0.0.1:9/v1")
    ada = Visitor.signed_in(app, "ada@example.com")
    with app.app_context():
        assert titles.first_title("Why is the sky blue?\nTell me") == "Why is the sky blue?"
        assert len(titles.first_title("long " * 40)) == titles.LONGEST_TITLE
    talk(ada, scripted, "Why is the sky blue?", "Because.")
    scripted.answer('"Blue skies"')
    work_off(app)
    assert ada.rows(select(Conversation.title)) == ["Blue skies"]
    conversation = ada.rows(select(Conversation))[0]
    scripted.answer("Something else")
    with app.app_context():
        titles.suggest(conversation.id)
    assert ada.rows(select(Conversation.title)) == ["Blue skies"]  # it is not the first title any more


def test_an_empty_chat_offers_three_questions_from_the_settings(make_app: MakeApp) -> None:
    ada = Visitor.signed_in(make_app(suggestions="One, or two?|Two?|Three?"), "ada@example.com")
    assert re.findall(r'class="suggestion" type="button">([^<]+)<', ada.get("/chat").text) == [
        "One, or two?",
        "Two?",
        "Three?",
    ]


def test_an_answer_tells_model_tokens_cost_time_and_trace(ada: Visitor, scripted: ScriptedModel) -> None:
    asked = talk(ada, scripted, "Why?", "Because.")
    for html in (ada.read(asked.events)[-1].data["footer"], ada.get(asked.conversation).text):
        assert re.search(r"<summary>scripted · \d+ tokens · cost unknown</summary>", html)
        assert re.search(r"<dd>\d+\.\d s, first words after \d+\.\d s</dd>", html)
        assert the_run(ada.app).trace_id in html
