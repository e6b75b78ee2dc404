"""The access table is what happens: for every route, who, how often, and whether it may write."""

from __future__ import annotations

import uuid

import pytest
from flask import Flask
from flask_login import current_user
from sqlalchemy import select, text, update
from support import FETCH, PAGE, MakeApp, ScriptedModel, Visitor

from app.accounts.models import User, UserSession
from app.chat.models import ToolCall
from app.database import db, transaction
from app.security.access import OWNER, PUBLIC, READS, SIGNED_IN, Route, register, table


def routes_of(app: Flask) -> set[tuple[str, str]]:
    return {
        (rule.endpoint, method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }


@pytest.mark.parametrize("app_env", ["development", "production"])
def test_every_route_is_in_the_table_and_every_row_is_a_route(make_app: MakeApp, app_env: str) -> None:
    app = make_app(app_env=app_env)
    with app.app_context():
        assert routes_of(app) == set(table())


def test_a_route_that_is_not_in_the_table_is_not_there(app: Flask, ada: Visitor) -> None:
    app._got_first_request = False  # so that a route can be added late
    app.add_url_rule("/forgotten", view_func=lambda: "secret", endpoint="forgotten")
    response = ada.get("/forgotten")
    assert response.status_code == 404
    assert "secret" not in response.text


def fill(app: Flask, route: Route, ids: dict[str, str]) -> str:
    rule = next(rule for rule in app.url_map.iter_rules(route.endpoint) if route.method in (rule.methods or ()))
    with app.test_request_context():
        return app.url_for(route.endpoint, **{name: ids.get(name, str(uuid.uuid4())) for name in rule.arguments})


def rows(app: Flask, *who: str) -> list[Route]:
    with app.app_context():
        return [route for route in table().values() if route.who in who]


def test_nobody_gets_anything_but_public_routes_without_signing_in(app: Flask) -> None:
    stranger = Visitor(app)
    for route in rows(app, SIGNED_IN, OWNER):
        url = fill(app, route, {})
        if route.method == "GET":
            page = stranger.get(url, PAGE)
            assert (page.status_code, page.location.partition("?")[0]) == (302, "/login"), url
            assert stranger.get(url, FETCH).status_code == 401, url
        else:
            assert stranger.post(url).status_code == 401, url


def test_another_users_things_are_not_there_by_any_route(
    app: Flask, ada: Visitor, bob: Visitor, scripted: ScriptedModel
) -> None:
    scripted.answer("Private.")
    asked = ada.ask("Mine?")
    asked.page()
    scripted.call("delete_conversation", title="Mine")
    ada.ask("Delete it?").page()
    ada.get("/account/settings")
    with app.app_context():
        session_id = db.session.scalar(select(UserSession.id).where(UserSession.user_id == ada.user_id))
    ids = {
        "conversation_id": asked.conversation.split("/")[-1],
        "message_id": str(asked.answer_id),
        "run_id": asked.events.split("/")[2],
        "session_id": str(session_id),
        "call_id": str(ada.rows(select(ToolCall.id))[0]),
    }
    owned = rows(app, OWNER)
    assert len(owned) > 8
    forms = {
        "chat.ask": {"text": "x", "client_key": str(uuid.uuid4())},
        "chat.rename": {"title": "Stolen"},
        "chat.decide": {"decision": "approve", "reason": ""},
    }
    for route in owned:
        url = fill(app, route, ids)
        response = bob.get(url) if route.method == "GET" else bob.post(url, **forms.get(route.endpoint, {}))
        assert response.status_code == 404, route
        assert "Private" not in response.text
    assert ada.get(asked.conversation).status_code == 200
    assert ada.get(asked.events).status_code == 200


@pytest.mark.one_engine
def test_every_limit_of_the_table_bites(make_app: MakeApp) -> None:
    app = make_app()
    with app.app_context():
        limited = [route for route in table().values() if route.limit]
    assert {"security.login", "security.register", "chat.start", "chat.ask"} <= {route.endpoint for route in limited}
    for number, route in enumerate(limited):
        visitor = Visitor.signed_in(app, f"user{number}@example.com") if route.who != PUBLIC else Visitor(app)
        url, allowed = fill(app, route, {}), int(route.limit.split("/")[0])
        answers = []
        while not answers or answers[-1].status_code != 429:
            email = {"email": f"{len(answers)}@example.com"} if route.account_limit else {}
            answers.append(visitor.post(url, FETCH, **email) if route.method == "POST" else visitor.get(url, FETCH))
            assert len(answers) <= allowed * 1.3 + 1, route  # a window that begins anew meanwhile lets a few more in
        assert len(answers) > min(allowed, 10), route
        refused = answers[-1]
        assert 1 <= int(refused.headers["Retry-After"]) <= 3601
        assert refused.json["type"].endswith("#quota-exceeded")


def test_a_route_that_reads_cannot_write(app: Flask, ada: Visitor) -> None:
    def sneaky() -> str:
        db.session.execute(text("UPDATE users SET is_admin = true"))
        db.session.commit()
        return "done"

    app._got_first_request = False
    app.add_url_rule("/sneaky", view_func=sneaky, endpoint="sneaky")
    register(app, [Route("sneaky", "GET", SIGNED_IN, READS)])
    assert ada.get("/sneaky", FETCH).status_code == 500
    assert ada.get("/chat").status_code == 200
    assert ada.rows(select(User.is_admin)) == [False]


def test_admin_routes_are_not_there_for_others(app: Flask, ada: Visitor) -> None:
    app._got_first_request = False
    app.add_url_rule("/secret-admin", view_func=lambda: str(current_user.is_admin), endpoint="secret_admin")
    register(app, [Route("secret_admin", "GET", "admin")])
    assert ada.get("/secret-admin").status_code == 404
    with app.app_context():
        db.session.execute(update(User).values(is_admin=True))
        db.session.commit()
    assert ada.get("/secret-admin").text == "True"


def test_no_list_and_no_sweep_reaches_another_users_things(
    app: Flask, ada: Visitor, bob: Visitor, scripted: ScriptedModel
) -> None:
    scripted.answer("Private.")
    ada.ask("A secret matter").page()
    with app.app_context(), transaction() as session:
        row = session.scalars(select(UserSession).where(UserSession.user_id == ada.user_id)).one()
        row.user_agent = "Private device"
    for url in ("/chat", "/account/settings", "/account/export"):
        text_of_bob = bob.get(url).text
        assert "secret matter" not in text_of_bob
        assert "Private" not in text_of_bob
        assert "ada@example.com" not in text_of_bob
    bob.post("/account/sessions/end-others", PAGE)
    assert ada.get("/chat").status_code == 200
