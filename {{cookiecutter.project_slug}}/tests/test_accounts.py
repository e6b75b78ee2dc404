"""Signing up, in and out; nothing but a living session row signs anyone in."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask_security.core import UserMixin
from sqlalchemy import event, select, update
from support import FETCH, PAGE, PASSWORD, MakeApp, Visitor, is_in, sign_in, sign_up

from app.accounts.models import User, UserSession
from app.database import db, now, transaction


def test_signing_up_in_development_signs_in_at_once(app: Flask) -> None:
    ada = Visitor(app)
    assert sign_up(ada).location == "/chat"
    assert is_in(ada)


def test_signing_in_and_out(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    assert ada.post("/logout", PAGE).location == "/"
    assert not is_in(ada)
    assert sign_in(ada, password="wrong horse battery").status_code == 200
    assert not is_in(ada)
    assert sign_in(ada).location == "/chat"
    assert is_in(ada)


@pytest.mark.parametrize("cheap_passwords", [False])
def test_passwords_are_hashed_with_argon2id_at_owasp_cost(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    (password,) = ada.rows(select(User.password))
    assert password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("password", ["short", "123456789"])
def test_a_short_password_is_refused_with_the_reason(app: Flask, password: str) -> None:
    response = sign_up(Visitor(app), password=password)
    assert response.status_code == 200
    assert "at least 10 characters" in response.text


def test_a_session_is_a_row_with_the_hash_of_a_token_only_the_cookie_has(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    with ada.client.session_transaction() as cookie:
        token = cookie["_user_id"]
    (row,) = ada.rows(select(UserSession))
    assert len(token) >= 43
    assert token not in row.token_hash
    with app.app_context(), transaction() as session:
        session.execute(update(UserSession).values(token_hash="0" * 64))
    assert not is_in(ada)


def test_signing_in_makes_a_new_session_and_ends_the_old_one(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    old = ada.client.get_cookie("session").value
    ada.post("/logout", PAGE)
    sign_in(ada)
    assert len(ada.rows(select(UserSession))) == 1
    thief = Visitor(app)
    thief.client.set_cookie("session", old)
    assert not is_in(thief)


def test_after_signing_out_nothing_signs_in(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    ada.post("/logout", PAGE)
    body = ada.post("/login?include_auth_token", FETCH, email="ada@example.com", password=PASSWORD)
    tokens = re.findall(r'"authentication_token": ?"([^"]*)"', body.text)
    cookies = [ada.client.get_cookie(name) for name in ("session", "remember_token")]
    with app.app_context():
        user = db.session.scalars(select(User)).one()
        tokens += [UserMixin.get_auth_token(user), user.fs_uniquifier, str(user.id)]  # as the library would make one
    ada.post("/logout", PAGE)
    for token in tokens:
        stranger = Visitor(app)
        assert stranger.get(f"/chat?auth_token={token}", FETCH).status_code == 401
        assert stranger.get("/chat", FETCH | {"Authentication-Token": token}).status_code == 401
        assert stranger.get("/chat", FETCH | {"Authorization": f"Bearer {token}"}).status_code == 401
        assert stranger.post("/chat", auth_token=token).status_code == 401
    for cookie in filter(None, cookies):
        stranger = Visitor(app)
        stranger.client.set_cookie(cookie.key, cookie.value)
        assert not is_in(stranger)


def test_there_is_no_remember_me(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    ada.post("/logout", PAGE)
    response = ada.post("/login", PAGE, email="ada@example.com", password=PASSWORD, remember="y")
    assert "Not accepted: remember" in response.text
    sign_in(ada)
    assert is_in(ada)
    assert ada.client.get_cookie("remember_token") is None


def test_the_token_of_before_signing_in_is_worth_nothing_afterwards(app: Flask) -> None:
    ada = Visitor(app)
    before = ada.get("/account/csrf", FETCH).json["token"]
    sign_up(ada)
    headers = FETCH | {"X-CSRFToken": before}
    assert ada.client.post("/chat", data={"text": "x", "client_key": "k" * 16}, headers=headers).status_code == 400


def test_basic_authentication_signs_nobody_in(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    assert Visitor(app).client.get("/chat", auth=("ada@example.com", PASSWORD), headers=FETCH).status_code == 401


@pytest.mark.parametrize("column", ["last_seen_at", "created_at"])
def test_a_session_ends_when_idle_or_old(make_app: MakeApp, column: str) -> None:
    app = make_app(session_idle_hours=1, session_absolute_hours=1)
    ada = Visitor.signed_in(app, "ada@example.com")
    assert is_in(ada)
    with app.app_context(), transaction() as session:
        session.execute(update(UserSession).values({column: now() - timedelta(hours=1, seconds=1)}))
    assert not is_in(ada)


def test_last_seen_is_written_at_most_once_a_minute(app: Flask, ada: Visitor) -> None:
    (first,) = ada.rows(select(UserSession.last_seen_at))
    is_in(ada)
    assert ada.rows(select(UserSession.last_seen_at)) == [first]
    with app.app_context(), transaction() as session:
        session.execute(update(UserSession).values(last_seen_at=first - timedelta(minutes=2)))
    is_in(ada)
    (later,) = ada.rows(select(UserSession.last_seen_at))
    assert now() - later < timedelta(minutes=1)


def test_a_disabled_account_is_signed_out(app: Flask, ada: Visitor) -> None:
    with app.app_context(), transaction() as session:
        session.execute(update(User).values(active=False))
    assert not is_in(ada)


def test_one_query_finds_session_and_user(app: Flask, ada: Visitor) -> None:
    statements: dict[object, str] = {}  # engines that share a pool share their events: by execution
    with app.app_context():
        for engine in db.engines.values():
            event.listen(engine, "before_cursor_execute", lambda *args: statements.update({args[4]: args[2]}))
    ada.get("/account/csrf", FETCH)
    assert is_in(ada)
    assert (
        sum("user_sessions" in statement or "FROM users" in statement for statement in statements.values()) == 2
    )  # a request each


def test_devices_can_be_seen_and_ended(app: Flask) -> None:
    laptop, phone = Visitor(app), Visitor(app)
    sign_up(laptop)
    sign_in(phone)
    page = laptop.get("/account/settings").text
    assert page.count("This device") == 1
    (url,) = re.findall(r'action="(/account/sessions/[^"]+/end)"', page)
    assert laptop.post(url, PAGE).status_code == 303
    assert not is_in(phone)
    assert is_in(laptop)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "////evil.example",
        "javascript:1",
    ],
)
def test_next_cannot_leave_the_site(app: Flask, target: str) -> None:
    ada = Visitor(app)
    sign_up(ada)
    ada.post("/logout", PAGE)
    location = sign_in(ada, query=f"?next={target}").location or "/"
    there = urljoin("http://localhost/login", location.replace("\\", "/"))  # as browsers read it
    assert urlsplit(there).netloc == "localhost"


def test_next_leads_back_to_where_one_was(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    ada.post("/logout", PAGE)
    login = ada.get("/account/settings").location
    response = ada.post(login, PAGE, email="ada@example.com", password=PASSWORD)
    assert response.location == "/account/settings"
