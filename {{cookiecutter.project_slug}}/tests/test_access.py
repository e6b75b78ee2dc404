"""The access table is what happens: for every route, who, how often, and whether it may write."""

from __future__ import annotations

import uuid

import pytest
from flask import Flask
from flask_login import current_user
from sqlalchemy import text
from support import FETCH, PAGE, MakeApp, ScriptedModel, Visitor

from app.database import db
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
    ada.get("/account/sessions")
    with app.app_context():
        session_id = db.session.scalar(text("SELECT id FROM user_sessions WHERE user_id = :u"), {"u": ada.user_id.hex})
    ids = {
        "conversation_id": asked.conversation.split("/")[-1],
        "message_id": str(asked.answer_id),
        "run_id": asked.events.split("/")[2],
        "session_id": str(uuid.UUID(session_id)),
    }
    owned = rows(app, OWNER)
    assert len(owned) > 8
    form = {"text": "x", "client_key": str(uuid.uuid4()), "title": "Stolen"}
    for route in owned:
        url = fill(app, route, ids)
        response = bob.get(url) if route.method == "GET" else bob.post(url, **form)
        assert response.status_code == 404, route
        assert "Private" not in response.text
    assert ada.get(asked.conversation).status_code == 200
    assert ada.get(asked.events).status_code == 200


def test_every_limit_of_the_table_bites(make_app: MakeApp) -> None:
    app = make_app()
    with app.app_context():
        limited = [route for route in table().values() if route.limit]
    assert {"security.login", "security.register", "chat.start", "chat.ask"} <= {route.endpoint for route in limited}
    for number, route in enumerate(limited):
        visitor = Visitor.signed_in(app, f"user{number}@example.com") if route.who != PUBLIC else Visitor(app)
        url, allowed = fill(app, route, {}), int(route.limit.split("/")[0])
        send = visitor.post if route.method == "POST" else visitor.get
        statuses = [send(url, FETCH).status_code for _ in range(allowed)]
        assert 429 not in statuses, route
        refused = send(url, FETCH)
        assert refused.status_code == 429, route
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.json["type"] == "urn:problem:rate-limited"


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
    assert ada.rows(text("SELECT max(is_admin) FROM users")) == [0]


def test_admin_routes_are_not_there_for_others(app: Flask, ada: Visitor) -> None:
    app._got_first_request = False
    app.add_url_rule("/secret-admin", view_func=lambda: str(current_user.is_admin), endpoint="secret_admin")
    register(app, [Route("secret_admin", "GET", "admin")])
    assert ada.get("/secret-admin").status_code == 404
    with app.app_context():
        db.session.execute(text("UPDATE users SET is_admin = true WHERE id = :id"), {"id": ada.user_id.hex})
        db.session.commit()
    assert ada.get("/secret-admin").text == "True"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("nonsense", "unknown"),
    ],
)
def test_one_customer_is_one_client_also_with_many_ipv6_addresses(address: str, expected: str) -> None:
    from app.security.limits import client_network

    assert client_network(address) == expected
