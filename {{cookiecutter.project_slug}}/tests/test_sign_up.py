"""Signing up in production: a mailed link, and answers that do not say whether an account exists."""

from __future__ import annotations

import re
import smtplib
from email.message import EmailMessage
from typing import Any

import pytest
from flask import Flask
from support import FETCH, PAGE, MakeApp, Visitor, is_in, sign_in, sign_up


class Outbox(list[EmailMessage]):
    """Takes the place of an SMTP server."""

    def __call__(self, host: str, port: int, timeout: float) -> Outbox:
        return self

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has_extn(self, name: str) -> bool:
        return False

    def login(self, user: str, password: str) -> None:
        pass

    def send_message(self, message: EmailMessage) -> None:
        self.append(message)


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    outbox = Outbox()
    monkeypatch.setattr(smtplib, "SMTP", outbox)
    return outbox


@pytest.fixture
def production(make_app: MakeApp) -> Flask:
    return make_app(app_env="production", mail_url="smtp://mail.example:25")


class Secure(Visitor):
    """A visitor over https, as production's cookies ask for."""

    def get(self, url: str, headers: dict[str, str] = PAGE) -> Any:
        return self.client.get(url, headers=headers, base_url="https://localhost")

    def post(self, url: str, headers: dict[str, str] = FETCH, **form: str) -> Any:
        csrf = self.get("/account/csrf", FETCH).json["token"]
        headers = headers | {"X-CSRFToken": csrf, "Referer": "https://localhost/"}
        return self.client.post(url, data=form, headers=headers, base_url="https://localhost")


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


def test_cookies_in_production_are_bound_to_the_host_and_to_https(production: Flask) -> None:
    response = Secure(production).get("/login")
    (cookie,) = response.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-session=")
    attributes = {part.strip() for part in cookie.split(";")[1:]}
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
    assert not any(part.startswith("Domain") for part in attributes)
