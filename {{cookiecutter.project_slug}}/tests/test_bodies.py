"""What may be sent: bounded, of a known kind, with known fields."""

from __future__ import annotations

import uuid
from urllib.parse import quote

import pytest
from flask import Flask
from support import FETCH, PAGE, PASSWORD, MakeApp, Visitor, sign_in, sign_up

pytestmark = pytest.mark.one_engine

URLENCODED = "application/x-www-form-urlencoded"


def send(visitor: Visitor, url: str, data: bytes | str, kind: str) -> int:
    csrf = visitor.get("/account/csrf", FETCH).json["token"]
    headers = FETCH | {"X-CSRFToken": csrf, "Content-Type": kind}
    return visitor.client.post(url, data=data, headers=headers).status_code


def test_forms_are_bounded_in_size_and_in_fields(ada: Visitor) -> None:
    assert send(ada, "/chat", "text=" + "x" * 600_000, URLENCODED) == 413
    assert send(ada, "/chat", "a=1&" * 60, URLENCODED) == 413
    multipart = "".join(f'--b\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\nx\r\n' for n in range(60))
    assert send(ada, "/chat", multipart + "--b--\r\n", "multipart/form-data; boundary=b") == 413
    assert send(ada, "/chat", "x" * 2_000_000, "application/octet-stream") == 413


def test_the_longest_question_fits(ada: Visitor) -> None:
    emoji = quote("\U0001f600" * 32_000)
    assert send(ada, "/chat", f"text={emoji}&client_key={uuid.uuid4()}", URLENCODED) == 201


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/xml", "application/problem+json"])
def test_other_kinds_of_body_are_refused(app: Flask, ada: Visitor, kind: str) -> None:
    assert send(ada, "/chat", '{"text": "x"}', kind) == 415
    assert send(Visitor(app), "/login", '["a"]', kind) == 415


def test_a_zero_byte_is_refused_before_a_database_sees_it(ada: Visitor) -> None:
    assert send(ada, "/chat", "text=a%00b", URLENCODED) == 400
    assert ada.get("/chat?q=%00", FETCH).status_code == 400


@pytest.mark.parametrize("host", ["localhost:x", "localhost:-1", "a:b:c", "[::1]x"])
@pytest.mark.parametrize("forwarded", [False, True])
def test_a_host_that_is_none_is_refused_before_anything_reads_it(make_app: MakeApp, host: str, forwarded: bool) -> None:
    app = make_app(trusted_hosts=("localhost",), proxy_hops=1)
    told = {"X-Forwarded-Host" if forwarded else "Host": host}
    assert app.test_client().get("/livez", headers=told).status_code == 400


def test_a_referrer_that_is_none_is_refused(ada: Visitor) -> None:
    token = ada.get("/account/csrf", FETCH).json["token"]
    told = {"Referer": "https://[", "X-CSRFToken": token}
    assert ada.client.post("/logout", headers=told, base_url="https://localhost").status_code == 400


@pytest.mark.parametrize("place", ["args", "form"])
def test_a_place_to_go_next_that_is_none_is_refused(app: Flask, place: str) -> None:
    url, form = ("/login?next=https://[", {}) if place == "args" else ("/login", {"next": "https://["})
    assert Visitor(app).post(url, **form).status_code == 400


def test_unknown_fields_are_refused_by_name(app: Flask, ada: Visitor) -> None:
    refused = ada.post("/chat", text="Hello?", client_key=str(uuid.uuid4()), user_id="1")
    assert refused.status_code == 422
    assert "user_id" in refused.json["errors"]
    eve = Visitor(app)
    response = eve.post("/register", PAGE, email="eve@example.com", password=PASSWORD, is_admin="1")
    assert "Not accepted: is_admin" in response.text
    assert sign_in(eve, "eve@example.com").status_code == 200


def test_long_passwords_are_taken_whole_and_endless_ones_refused(app: Flask) -> None:
    long = "correct horse battery " * 11
    ada = Visitor(app)
    assert sign_up(ada, password=long).location == "/chat"
    ada.post("/logout", PAGE)
    assert sign_in(ada, password=long[:100]).status_code == 200
    assert sign_in(ada, password=long).location == "/chat"
    assert "at most 256" in sign_up(Visitor(app), "eve@example.com", "x1" * 200).text


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1&other=2", "after=99999999999"])
def test_a_query_is_checked_like_a_form(ada: Visitor, query: str) -> None:
    events = ada.ask().events
    refused = ada.get(f"{events}?{query}", FETCH)
    assert refused.status_code == 422
    assert refused.json["type"] == "urn:problem:invalid"
