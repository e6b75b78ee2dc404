"""What a user may spend in a day is never overspent by more than one answer, however many are asked for at once."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from fake_provider import FakeProvider
from flask import Flask
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from sqlalchemy import select
from support import MakeApp, ScriptedModel, Visitor, the_answer, the_run, wait_until
from test_providers import PROTOCOLS, app_with, provider

from app.chat.models import DailyUsage, Message, Run

__all__ = ["provider"]
PIECE, PIECES = "words and " * 8, 100  # 80 characters, which count for 20 tokens; 2,000 tokens in all
ANSWER = 2000 + 500


async def talk(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for _ in range(PIECES):
        yield PIECE


def talking(make_app: MakeApp, **settings: object) -> Flask:
    app = make_app(**settings)
    app.extensions["model"] = FunctionModel(stream_function=talk, model_name="talker")
    return app


def spent(visitor: Visitor) -> DailyUsage:
    return visitor.rows(select(DailyUsage))[0]


def test_a_budget_reached_in_mid_answer_halts_it_and_says_so(make_app: MakeApp) -> None:
    app = talking(make_app, user_tokens_per_day=1200)
    ada = Visitor.signed_in(app, "ada@example.com")
    asked = ada.ask()
    page = asked.page()
    assert page.ending.kind == "error"
    assert "Your budget for today is spent; it is renewed at midnight UTC." in page.ending.data["footer"]
    assert the_run(app).error == "budget"
    assert 0 < len(the_answer(app).text) < len(PIECE) * PIECES
    assert "budget for today is spent" in ada.get(asked.conversation).text
    refused = ada.post("/chat", text="More?", client_key=str(uuid.uuid4()))
    assert (refused.status_code, refused.json["type"]) == (429, "urn:problem:budget-spent")
    assert 1 <= int(refused.headers["Retry-After"]) <= 24 * 3600
    assert ada.post(asked.regenerate).status_code == 429
    assert ada.rows(select(Message.text).where(Message.role == "user")) == ["Hello?"]


def test_twenty_at_once_overspend_by_one_answer_at_most(make_app: MakeApp) -> None:
    budget = 6000
    app = talking(make_app, user_tokens_per_day=budget)
    ada = Visitor.signed_in(app, "ada@example.com")
    for _ in range(20):
        response = ada.post("/chat", text="Hello?", client_key=str(uuid.uuid4()))
        assert response.status_code in (201, 429)
    wait_until(lambda: not ada.rows(select(Run.id).where(Run.status == "running")), 30)
    written = sum(len(text) for text in ada.rows(select(Message.text).where(Message.role == "assistant"))) / 4
    assert written <= budget + ANSWER
    assert spent(ada).tokens <= budget + ANSWER
    assert "budget" in ada.rows(select(Run.error))


def test_one_users_budget_is_not_anothers(make_app: MakeApp) -> None:
    app = talking(make_app, user_tokens_per_day=1200)
    Visitor.signed_in(app, "ada@example.com").ask().page()
    bob = Visitor.signed_in(app, "bob@example.com")
    assert bob.post("/chat", text="Hello?", client_key=str(uuid.uuid4())).status_code == 201


def test_what_was_reserved_and_not_used_is_given_back(ada: Visitor, app: Flask, scripted: ScriptedModel) -> None:
    scripted.answer("Short.")
    ada.ask().page()
    run = the_run(app)
    assert spent(ada).tokens == run.input_tokens + run.output_tokens


def test_a_budget_in_dollars_halts_too(make_app: MakeApp, provider: FakeProvider) -> None:
    app = app_with(make_app, PROTOCOLS["openai"], user_dollars_per_day=0.0001)
    ada = Visitor.signed_in(app, "ada@example.com")
    ada.ask().page()
    run = the_run(app)
    assert spent(ada).micro_dollars == int(run.cost * 1_000_000) > 100
    assert ada.post("/chat", text="More?", client_key=str(uuid.uuid4())).status_code == 429


def test_without_a_limit_any_amount_may_be_spent(make_app: MakeApp) -> None:
    app = talking(make_app, user_tokens_per_day=0, user_dollars_per_day=0)
    assert Visitor.signed_in(app, "ada@example.com").ask().page().ending.kind == "done"
