"""How many statements a page may cost, however much there is on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy import event
from support import ScriptedModel, Visitor, wait_until

from app.chat.models import Conversation, Message, Run, RunStatus, ToolCall
from app.database import db, new_id, transaction
from app.security.access import table

# One statement finds session and user; the rest is the page itself.
BUDGETS = {
    "chat.new": 1,
    "chat.conversation": 6,
    "chat.earlier": 7,
    "chat.export": 4,
    "chat.run_status": 2,
    "chat.run_events": 4,
    "accounts.export": 12,  # one for each kind of row, however many there are
}
OTHERS = 3  # what a page may cost that is not in this table


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """The statements of this thread; what answers a question asks meanwhile."""
    statements: list[str] = []
    here = threading.get_ident()

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")) and threading.get_ident() == here:
            statements.append(statement)

    with app.app_context():
        engines = {engine.pool: engine for engine in reversed(db.engines.values())}.values()  # one, where two share it
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def converse(visitor: Visitor, turns: int) -> dict[str, str]:
    """A conversation of so many turns, each with a tool step; ids by their names in addresses."""
    with visitor.app.app_context(), transaction() as session:
        mine = {"conversation_id": new_id(), "user_id": visitor.user_id}
        conversation = Conversation(id=mine["conversation_id"], user_id=visitor.user_id, title=f"{turns} turns")
        session.add(conversation)
        for _ in range(turns):
            session.flush()
            question = Message(id=new_id(), parent_id=conversation.head_id, role="user", text="and?", **mine)
            session.add(question)
            session.flush()
            answer = Message(id=new_id(), parent_id=question.id, role="assistant", text="fine", **mine)
            session.add(answer)
            session.flush()
            run = Run(id=new_id(), answer_id=answer.id, status=RunStatus.DONE, worker="x/1/y", **mine)
            session.add_all((run, ToolCall(message_id=answer.id, call_id="1", name="current_time", status="done")))
            conversation.head_id = answer.id
    return {"conversation_id": str(conversation.id), "message_id": str(answer.id), "run_id": str(run.id)}


def test_no_page_costs_more_statements_than_its_budget(app: Flask, ada: Visitor) -> None:
    for turns in (1, 2, 40):
        parts = converse(ada, turns)
    with app.test_request_context():
        urls = {
            endpoint: app.url_for(endpoint, **{name: parts[name] for name in rule.arguments})
            for endpoint, method in table()
            for rule in app.url_map.iter_rules(endpoint)
            if method == "GET" and rule.arguments <= parts.keys() and endpoint != "static"
        }
    assert BUDGETS.keys() <= urls.keys()
    over = {}
    for endpoint, url in urls.items():
        ada.get(url)
        with counted(app) as statements:
            response = ada.get(url)
        assert response.status_code < 500, url
        if len(statements) > BUDGETS.get(endpoint, OTHERS):
            over[endpoint] = len(statements)
    assert over == {}


def test_twenty_times_the_messages_cost_no_further_statement(app: Flask, ada: Visitor) -> None:
    def cost(turns: int) -> int:
        url = f"/chat/{converse(ada, turns)['conversation_id']}"
        ada.get(url)
        with counted(app) as statements:
            assert ada.get(url).status_code == 200
        return len(statements)

    assert cost(2) == cost(40)


def test_a_question_reads_nothing_again_that_it_has_just_stored(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    conversation = "/chat"
    for _ in range(2):
        scripted.answer("One.")
        with counted(app) as statements:
            conversation = ada.ask("And?", conversation).conversation
        wait_until(lambda: not app.extensions["runner"].live)
        stored = next(n for n, statement in enumerate(statements) if statement.startswith("INSERT INTO runs"))
        assert [statement.partition("FROM")[2].split()[0] for statement in statements[stored + 1 :]] == ["messages"]
