"""Signing up in production: a mailed link, and answers that do not say whether an account exists."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from flask import Flask
from mails import Outbox, Secure
from support import PAGE, PASSWORD, is_in, sign_in, sign_up, work_off

from app.database import now
from app.security.access import EVEN_SECONDS


def test_signing_up_in_production_says_the_same_whether_or_not_the_account_exists(
    production: Flask, outbox: Outbox
) -> None:
    first, second = Secure(production), Secure(production)
    answers = [sign_up(first), sign_up(second)]
    pages = [visitor.get("/login").text for visitor in (first, second)]
    assert [answer.status_code for answer in answers] == [302, 302]
    assert answers[0].location == answers[1].location
    notices = [re.findall(r'class="flash"[^>]*>([^<]+)<', page) for page in pages]
    assert notices[0] == notices[1]
    assert "click on the link" in notices[0][0]
    assert not is_in(first)
    assert len(outbox) == 2


def test_the_mailed_link_signs_in_once_and_never_again(production: Flask, outbox: Outbox) -> None:
    ada = Secure(production)
    sign_up(ada)
    (link,) = re.findall(r"https://localhost(/confirm/\S+)", outbox[0].get_body(("plain",)).get_content())
    assert ada.get(link).location == "/chat"
    assert is_in(ada)
    ada.post("/logout", PAGE)
    stranger = Secure(production)
    stranger.get(link)
    assert not is_in(stranger)


def test_signing_in_with_an_unknown_address_and_a_wrong_password_look_alike(production: Flask, outbox: Outbox) -> None:
    ada = Secure(production)
    sign_up(ada)
    ada.get("/login")  # shows what sign-up had to say
    bodies = [
        re.sub(r'value="[^"]*"|nonce="[^"]*"', "", sign_in(ada, email, "wrong horse battery").text)
        for email in ("ada@example.com", "nobody@example.com")
    ]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
@pytest.mark.parametrize("path", ["/login", "/register", "/reset", "/confirm"])
def test_an_answer_takes_as_long_for_an_account_as_for_none(
    production: Flask, outbox: Outbox, path: str, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Secure(production)
    sign_up(ada)
    waited: list[float] = []
    for module in ("access", "bodies"):
        clock = SimpleNamespace(monotonic=lambda: 7.0, sleep=waited.append)
        monkeypatch.setattr(f"app.security.{module}.time", clock)
    ada.post(path, PAGE, email=email, **({"password": PASSWORD} if path in ("/login", "/register") else {}))
    assert max(waited) == pytest.approx(EVEN_SECONDS)


def test_a_mail_server_that_is_down_shows_to_nobody_and_the_mail_is_sent_later(
    production: Flask, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "send_message", lambda message: message.refuse())
    assert sign_up(Secure(production)).status_code == 302
    monkeypatch.undo()
    monkeypatch.setattr("smtplib.SMTP", outbox)
    work_off(production, now() + timedelta(minutes=1))
    assert outbox.link("/confirm")


def test_cookies_in_production_are_bound_to_the_host_and_to_https(production: Flask) -> None:
    response = Secure(production).get("/login")
    (cookie,) = response.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-session=")
    attributes = {part.strip() for part in cookie.split(";")[1:]}
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
    assert not any(part.startswith("Domain") for part in attributes)
