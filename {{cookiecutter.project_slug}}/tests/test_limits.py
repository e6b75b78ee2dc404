"""Limits: whom they count, that they bite in every weather, and what a client learns of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask import Flask
from limits.errors import StorageError
from mails import Outbox
from support import PAGE, PASSWORD, MakeApp, Visitor, is_in, sign_in, sign_up, work_off

from app.security.limits import client_network

WRONG = "wrong horse battery"


class From(Visitor):
    """A visitor from an address of one's choice, behind one proxy."""

    def __init__(self, app: Flask, address: str):
        super().__init__(app)
        self.client.environ_base["HTTP_X_FORWARDED_FOR"] = address


@pytest.fixture
def behind_proxy(make_app: MakeApp) -> Flask:
    return make_app(proxy_hops=1)


def attempt(visitor: Visitor, email: str, password: str = WRONG) -> int:
    return visitor.post("/login", PAGE, email=email, password=password).status_code


def test_one_account_can_be_tried_ten_times_in_a_quarter_of_an_hour_from_anywhere(behind_proxy: Flask) -> None:
    sign_up(From(behind_proxy, "203.0.113.1"))
    spellings = ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com ", "\u00a0ada@example.com"]
    statuses = [attempt(From(behind_proxy, f"198.51.100.{n}"), spellings[n % 3]) for n in range(30)]
    assert 10 <= statuses.index(429) <= 11
    assert set(statuses[12:]) == {429}


def test_many_accounts_can_be_tried_thirty_times_in_a_quarter_of_an_hour_from_one_address(behind_proxy: Flask) -> None:
    network = [f"2001:db8:1:2:{n:x}::7" for n in range(40)]  # one customer's
    statuses = [attempt(From(behind_proxy, network[n]), f"user{n}@example.com") for n in range(40)]
    assert 30 <= statuses.index(429) <= 32
    assert attempt(From(behind_proxy, "2001:db8:1:3::7"), "someone@example.com") == 200


def test_an_account_that_does_not_exist_is_limited_alike(behind_proxy: Flask) -> None:
    statuses = [attempt(From(behind_proxy, f"198.51.100.{n}"), "nobody@example.com") for n in range(15)]
    assert 10 <= statuses.index(429) <= 11


def test_an_attack_does_not_lock_the_owner_out(make_app: MakeApp, outbox: Outbox) -> None:
    app = make_app(proxy_hops=1, mail_url="smtp://mail.example:25")
    laptop = From(app, "203.0.113.1")
    sign_up(laptop)
    laptop.post("/logout", PAGE)
    for n in range(15):
        attempt(From(app, f"198.51.100.{n}"), "ada@example.com")
    assert sign_in(From(app, "198.51.100.99")).status_code == 429
    assert sign_in(laptop).location == "/chat"  # a browser that has signed in before
    phone = From(app, "203.0.113.2")
    phone.post("/reset", PAGE, email="ada@example.com")
    work_off(app)
    assert phone.post(outbox.link("/reset"), PAGE, password="staple a brown horse").status_code == 302
    assert sign_in(phone, password="staple a brown horse").location == "/chat"  # or that has followed a reset link


def test_a_second_factor_cannot_be_guessed_from_many_addresses(behind_proxy: Flask) -> None:
    owner = From(behind_proxy, "203.0.113.1")
    sign_up(owner)
    from test_settings_page import set_up_two_factor

    set_up_two_factor(owner)
    guesser = From(behind_proxy, "198.51.100.1")
    assert sign_in(guesser).location.startswith("/login/code")
    statuses = []
    for n in range(20):
        guesser.client.environ_base["HTTP_X_FORWARDED_FOR"] = f"198.51.100.{n}"
        guess = {"code": f"{n:06}", "email": f"{n}@example.com"}
        statuses.append(guesser.post("/login/code", PAGE, **guess).status_code)
    assert 10 <= statuses.index(429) <= 11


def test_nobodys_mailbox_is_flooded(make_app: MakeApp, outbox: Outbox) -> None:
    app = make_app(proxy_hops=1, mail_url="smtp://mail.example:25")
    sign_up(From(app, "203.0.113.1"))
    for n in range(10):
        From(app, f"198.51.100.{n}").post("/reset", PAGE, email="ada@example.com")
    work_off(app)
    assert len(outbox) == 3


def test_a_client_learns_of_its_limits(app: Flask, ada: Visitor) -> None:
    first = ada.post("/chat", text="Hello?", client_key=str(uuid.uuid4()))
    assert first.headers["RateLimit-Policy"] == '"user-60s";q=30;w=60'
    assert first.headers["RateLimit"].startswith('"user-60s";r=29;t=')
    login = Visitor(app).post("/login", email="ada@example.com", password=WRONG)
    assert login.headers["RateLimit-Policy"].count(";q=") == 6
    assert login.headers["RateLimit"].startswith('"account-900s";r=9;t=')
    for _ in range(40):
        refused = ada.post("/chat", text="Hello?", client_key=str(uuid.uuid4()))
    assert refused.json["type"].endswith("#quota-exceeded")
    assert refused.json["violated_policies"] == ["user-60s"]
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_client_cannot_choose_its_address(make_app: MakeApp) -> None:
    app = make_app()  # no proxy: nobody's word about addresses counts
    statuses = [attempt(From(app, f"198.51.100.{n}"), f"user{n}@example.com") for n in range(40)]
    assert 30 <= statuses.index(429) <= 32


def test_limits_go_on_in_memory_when_their_store_is_gone_and_return_to_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise StorageError(ConnectionError("gone"))

    def allowed(user: Visitor) -> int:
        count = 0
        while count < 90 and user.post("/chat", text="").status_code != 429:
            count += 1
        return count

    limiter = app.extensions["limits"]
    with monkeypatch.context() as outage:
        for method in ("get_sliding_window", "acquire_sliding_window_entry"):
            outage.setattr(limiter.storage, method, gone)
        outage.setattr(limiter.storage, "check", lambda: False)
        assert 30 <= allowed(Visitor.signed_in(app, "ada@example.com")) <= 34
    assert 30 <= allowed(Visitor.signed_in(app, "bob@example.com")) <= 64


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
    assert client_network(address) == expected


def test_signing_in_still_works_at_the_edge_of_the_limit(app: Flask) -> None:
    ada = Visitor(app)
    sign_up(ada)
    ada.post("/logout", PAGE)
    for _ in range(9):
        sign_in(ada, password=WRONG)
    assert sign_in(ada, password=PASSWORD).location == "/chat"
    assert is_in(ada)
