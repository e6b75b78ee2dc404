"""The cache: built once, shared by nobody, and only slower when Redis is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask, g
from live import free_port
from sqlalchemy import select, update
from support import MakeApp, ScriptedModel, Visitor

from app import cache
from app.chat.models import Conversation
from app.chat.pages import conversation_list
from app.database import db, transaction


def _at_once(count: int, do: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=do, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_who_miss_a_value_at_once_one_builds_it(app: Flask) -> None:
    built: list[int] = []

    def build() -> list[int]:
        built.append(1)
        time.sleep(0.2)
        return [1, 2, 3]

    def ask(number: int) -> None:
        with app.app_context():
            assert cache.get_or_set("numbers", 60, build) == [1, 2, 3]

    _at_once(20, ask)
    assert len(built) == 1


def test_a_value_is_built_again_when_its_time_is_over_or_it_is_deleted(app: Flask) -> None:
    with app.app_context():
        assert cache.get_or_set("n", 2, lambda: 1) == 1
        assert cache.get_or_set("n", 60, lambda: 2) == 1
        time.sleep(2.1)
        assert cache.get_or_set("n", 60, lambda: 3) == 3
        cache.delete("n")
        assert cache.get_or_set("n", 60, lambda: 4) == 4


def test_a_lost_redis_costs_time_but_no_answer(make_app: MakeApp) -> None:
    app = make_app(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    built: list[int] = []
    began = time.monotonic()
    with app.app_context():
        for _ in range(50):
            assert cache.get_or_set("n", 60, lambda: built.append(1) or "value") == "value"
    assert len(built) == 50
    assert time.monotonic() - began < 2


def test_a_process_keeps_a_bounded_number_of_values(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 10)
    built: list[int] = []
    with make_app(redis_url="").app_context():
        for number in [*range(100), *range(100)]:
            cache.get_or_set(str(number), 60, lambda number=number: built.append(number) or number)
    assert len(built) >= 190


def test_under_load_nobody_is_shown_anothers_conversations(app: Flask, scripted: ScriptedModel) -> None:
    people = [Visitor.signed_in(app, f"person-{number}@example.com") for number in range(6)]
    for number, person in enumerate(people):
        for _ in range(2):
            scripted.answer("fine")
            person.ask(f"secret of {number}").page()
    wrong: list[str] = []

    def look(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            number = chance.randrange(len(people))
            page = Visitor.of(app, people[number]).get("/chat").text
            if page.count(f"secret of {number}") < 2 or page.count("secret of") != page.count(f"secret of {number}"):
                wrong.append(page)
            if chance.random() < 0.3:
                with app.app_context():
                    cache.delete(f"conversations:{people[number].user_id}")

    _at_once(8, look)
    assert wrong == []


def test_what_someone_does_is_in_their_list_at_once(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    assert "first thing" not in ada.get("/chat").text
    scripted.answer("fine")
    asked = ada.ask("first thing")
    asked.page()
    assert "first thing" in ada.get("/chat").text
    ada.post(f"{asked.conversation}/rename", title="another name")
    assert "another name" in ada.get("/chat").text
    ada.post(f"{asked.conversation}/delete")
    ada.get("/chat")
    assert asked.conversation not in ada.get("/chat").text
    ada.post(f"{asked.conversation}/restore")
    assert "another name" in ada.get("/chat").text


def test_the_list_comes_from_the_cache(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("fine")
    ada.ask("first thing").page()
    ada.get("/chat")
    with app.app_context(), transaction() as session:
        session.execute(update(Conversation).values(title="changed behind its back"))
    assert "first thing" in ada.get("/chat").text
    with app.app_context():
        conversation_list.forget(ada.user_id)
    assert "changed behind its back" in ada.get("/chat").text


def test_the_list_is_forgotten_when_the_open_transaction_commits(app: Flask, ada: Visitor) -> None:
    with app.app_context():
        g.reads_only = True
        with transaction() as session:
            session.add(Conversation(user_id=ada.user_id, title="first"))
        assert [listed.title for listed in conversation_list.recent(ada.user_id)] == ["first"]
        with transaction() as session:
            session.execute(update(Conversation).values(title="second"))
            conversation_list.forget(ada.user_id)
            assert [listed.title for listed in conversation_list.recent(ada.user_id)] == ["first"]
        assert [listed.title for listed in conversation_list.recent(ada.user_id)] == ["second"]


def test_a_list_is_not_kept_from_before_a_change_that_a_page_has_not_seen(app: Flask, ada: Visitor) -> None:
    with app.app_context(), transaction() as session:
        conversation = Conversation(user_id=ada.user_id, title="first")
        session.add(conversation)
    with app.app_context():
        g.reads_only = True
        assert db.session.scalars(select(Conversation.title)).all() == ["first"]  # what the page sees from now on
        with transaction() as session:
            session.get_one(Conversation, conversation.id).title = "second"
        conversation_list.recent(ada.user_id)
    assert "second" in ada.get("/chat").text
