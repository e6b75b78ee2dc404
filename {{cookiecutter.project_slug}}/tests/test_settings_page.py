"""The settings page: what changes how one signs in, and the end of everything that signed in before."""

from __future__ import annotations

import json
import re
import time

import pytest
from flask import Flask
from mails import Outbox
from passlib.totp import TOTP
from sqlalchemy import select, text
from support import FETCH, PAGE, PASSWORD, MakeApp, ScriptedModel, Visitor, is_in, sign_in, sign_up, work_off

from app.accounts.models import User, UserSession
from app.chat.models import Conversation, Message, Run
from app.database import db

NEW_PASSWORD = "staple a brown horse"
SENSITIVE = ("/account/two-factor", "/account/recovery-codes", "/account/email", "/account/export", "/account/delete")


def user_of(app: Flask, email: str = "ada@example.com") -> User | None:
    with app.app_context():
        return db.session.scalar(select(User).where(User.email == email))


def stale(visitor: Visitor) -> None:
    """As if the visitor had signed in long ago."""
    with visitor.client.session_transaction() as cookie:
        cookie["fs_paa"] = time.time() - 3600
        cookie.pop("fs_gexp", None)


def set_up_two_factor(ada: Visitor) -> TOTP:
    page = ada.post("/account/two-factor", PAGE, setup="authenticator").text
    (key,) = re.findall(r"<code>([A-Z2-7-]+)</code>", page)
    totp = TOTP(key=key.replace("-", ""), format="base32")
    (url,) = re.findall(r'action="(/account/two-factor/[^"]+)"', page)
    assert ada.post(url, PAGE, code=totp.generate().token).location == "/account/settings"
    return totp


def next_code(totp: TOTP) -> str:
    """A code of the next interval, since one that was used is used up."""
    return totp.generate(time=time.time() + 30).token


@pytest.fixture
def ada(app: Flask) -> Visitor:
    ada = Visitor(app)
    sign_up(ada)
    return ada


def test_a_new_password_ends_every_other_session(app: Flask, ada: Visitor) -> None:
    phone = Visitor(app)
    sign_in(phone)
    old_cookie = ada.client.get_cookie("session").value
    response = ada.post("/account/password", PAGE, password=PASSWORD, new_password=NEW_PASSWORD)
    assert response.location == "/account/settings"
    assert is_in(ada)
    assert not is_in(phone)
    thief = Visitor(app)
    thief.client.set_cookie("session", old_cookie)
    assert not is_in(thief)
    assert sign_in(Visitor(app)).status_code == 200
    assert sign_in(Visitor(app), password=NEW_PASSWORD).location == "/chat"


def test_a_new_password_needs_the_old_one(app: Flask, ada: Visitor) -> None:
    response = ada.post("/account/password", PAGE, password="wrong horse battery", new_password=NEW_PASSWORD)
    assert "Invalid password" in response.text
    assert sign_in(Visitor(app)).location == "/chat"


@pytest.mark.parametrize("weak", ["password1234", "qwertyuiop", "aaaaaaaaaaaa", "ilovemymother"])
def test_common_and_guessable_passwords_are_refused_without_a_network(app: Flask, ada: Visitor, weak: str) -> None:
    assert sign_up(Visitor(app), "eve@example.com", weak).status_code == 200
    assert user_of(app, "eve@example.com") is None
    assert ada.post("/account/password", PAGE, password=PASSWORD, new_password=weak).status_code == 200
    assert sign_in(Visitor(app)).location == "/chat"


def test_a_mailed_link_resets_the_password_once_and_ends_every_session(make_app: MakeApp, outbox: Outbox) -> None:
    app = make_app(mail_url="smtp://mail.example:25")
    ada, forgetful = Visitor(app), Visitor(app)
    sign_up(ada)
    forgetful.post("/reset", PAGE, email="ada@example.com")
    work_off(app)
    link = outbox.link("/reset")
    assert "New password" in forgetful.get(link).text
    assert forgetful.post(link, PAGE, password=NEW_PASSWORD).status_code == 302
    assert not is_in(ada)
    assert sign_in(forgetful, password=NEW_PASSWORD).location == "/chat"
    stranger = Visitor(app)
    assert stranger.post(link, PAGE, password=PASSWORD).location == "/reset"
    assert sign_in(Visitor(app)).status_code == 200


def test_an_address_changes_when_the_link_to_the_new_one_is_followed(make_app: MakeApp, outbox: Outbox) -> None:
    app = make_app(mail_url="smtp://mail.example:25")
    ada, phone = Visitor(app), Visitor(app)
    sign_up(ada)
    sign_in(phone)
    ada.post("/reset", PAGE, email="ada@example.com")
    work_off(app)
    old_reset = outbox.link("/reset")
    ada.post("/account/email", PAGE, email="lovelace@example.com")
    work_off(app)
    assert outbox[-1]["To"] == "lovelace@example.com"
    assert user_of(app, "lovelace@example.com") is None
    assert ada.get(outbox.link("/account/email")).location == "/account/settings"
    assert user_of(app, "lovelace@example.com") is not None
    assert is_in(ada)
    assert not is_in(phone)
    assert Visitor(app).get(old_reset).location == "/reset"  # mailed to an address that is the account's no more


@pytest.mark.parametrize("url", SENSITIVE)
def test_what_changes_an_account_asks_for_the_password_again(app: Flask, ada: Visitor, url: str) -> None:
    assert ada.get(url).status_code == 200
    stale(ada)
    asked = ada.get(url).location
    assert asked.startswith("/account/verify?next=")
    assert ada.post(asked, PAGE, password="wrong horse battery").status_code == 200
    assert ada.get(url).status_code == 302
    assert ada.post(asked, PAGE, password=PASSWORD).location.endswith(url)
    assert ada.get(url).status_code == 200


def test_two_factor_sign_in_asks_for_a_code_that_works_once(app: Flask, ada: Visitor) -> None:
    totp = set_up_two_factor(ada)
    phone, thief = Visitor(app), Visitor(app)
    assert sign_in(phone).location.startswith("/login/code")
    assert not is_in(phone)
    assert phone.post("/login/code", PAGE, code="000000").status_code == 200
    code = next_code(totp)
    assert phone.post("/login/code", PAGE, code=code).location == "/chat"
    assert is_in(phone)
    assert phone.get("/login/code").status_code == 302  # asked once more, that signs out, which writes
    sign_in(thief)
    assert thief.post("/login/code", PAGE, code=code).status_code == 200
    assert not is_in(thief)


def test_a_recovery_code_signs_in_once(app: Flask, ada: Visitor) -> None:
    set_up_two_factor(ada)
    codes = re.findall(r"<code>([0-9a-f-]+)</code>", ada.post("/account/recovery-codes", PAGE).text)
    assert len(codes) == 8
    assert codes[0] not in str(ada.rows(text("SELECT mf_recovery_codes FROM users")))
    for expected in (302, 200):
        visitor = Visitor(app)
        sign_in(visitor)
        assert visitor.post("/login/recovery-code", PAGE, code=codes[0]).status_code == expected
        assert is_in(visitor) == (expected == 302)


def test_the_qr_code_needs_no_data_address(ada: Visitor) -> None:
    page = ada.post("/account/two-factor", PAGE, setup="authenticator").text
    assert "<svg" in page
    assert "data:" not in page
    assert "style=" not in page


def test_passwords_and_two_factor_secrets_survive_a_new_secret_key(make_app: MakeApp) -> None:
    old, new = "o" * 8 + "ld-key-0123456789abcdefghijk", "n" * 8 + "ew-key-0123456789abcdefghijk"
    before = make_app(secret_key=old)
    ada = Visitor(before)
    sign_up(ada)
    totp = set_up_two_factor(ada)
    codes = re.findall(r"<code>([0-9a-f-]+)</code>", ada.post("/account/recovery-codes", PAGE).text)
    during = make_app(secret_key=new, secret_key_fallbacks=(old,))
    again = Visitor(during)
    sign_in(again)
    assert again.post("/login/code", PAGE, code=next_code(totp)).location == "/chat"
    other = Visitor(during)
    sign_in(other)
    assert other.post("/login/recovery-code", PAGE, code=codes[0]).location == "/chat"
    (stored,) = other.rows(text("SELECT tf_totp_secret FROM users"))
    after = make_app(secret_key=new)
    with after.app_context():
        assert after.extensions["security"].totp_factory.get_totp_b32_key(stored) == totp.base32_key


def test_the_export_holds_everything_but_secrets(app: Flask, ada: Visitor, scripted: ScriptedModel) -> None:
    scripted.answer("Forty-two.")
    ada.ask("What is it?").page()
    set_up_two_factor(ada)
    response = ada.get("/account/export")
    assert response.headers["Content-Disposition"].startswith("attachment")
    data = json.loads(response.text)
    assert data["account"][0]["email"] == "ada@example.com"
    assert len(data["sessions"]) == 1
    (conversation,) = data["conversations"]
    assert [message["text"] for message in conversation["messages"]] == ["What is it?", "Forty-two."]
    assert not re.search(r"password|token_hash|totp|uniquifier|argon2", response.text)


def test_a_deleted_account_is_gone_with_all_it_had(app: Flask, ada: Visitor, bob: Visitor) -> None:
    phone = Visitor(app)
    sign_in(phone)
    asked = ada.ask("Never answered?")
    cookie = ada.client.get_cookie("session").value
    assert ada.post("/account/delete", PAGE, email="bob@example.com").status_code == 422
    assert ada.post("/account/delete", PAGE, email="Ada@Example.com").location == "/"
    thief = Visitor(app)
    thief.client.set_cookie("session", cookie)
    for visitor in (ada, phone, thief):
        assert not is_in(visitor)
        assert visitor.get(asked.conversation, FETCH).status_code == 401
    for model in (Conversation, Message, Run, UserSession):
        assert set(bob.rows(select(model.user_id))) <= {bob.user_id}
    assert sign_in(Visitor(app)).status_code == 200
    assert is_in(bob)


def test_all_other_devices_can_be_signed_out_at_once(app: Flask, ada: Visitor) -> None:
    others = [Visitor(app) for _ in range(2)]
    for visitor in others:
        sign_in(visitor)
    ada.post("/account/sessions/end-others", PAGE)
    assert [is_in(visitor) for visitor in (ada, *others)] == [True, False, False]
