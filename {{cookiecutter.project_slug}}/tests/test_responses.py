"""Headers, CSRF and errors on every kind of answer."""

from __future__ import annotations

import re
import uuid

import pytest
from flask import Flask
from support import FETCH, PAGE, MakeApp, ScriptedModel, Visitor

from app.security.access import table

pytestmark = pytest.mark.one_engine

PUBLIC_PAGES = ["/", "/login", "/register", "/nothing-here"]
PRIVATE_PAGES = ["/chat", "/account/settings"]
SELF = ("style-src", "img-src", "font-src", "connect-src", "manifest-src", "worker-src", "form-action")
NONE = ("default-src", "base-uri", "frame-ancestors", "object-src")
POLICY = dict.fromkeys(SELF, "'self'") | dict.fromkeys(NONE, "'none'")
POLICY |= {"script-src": "<nonce>", "require-trusted-types-for": "'script'", "trusted-types": "app"}
DENIED = "accelerometer camera display-capture geolocation gyroscope microphone payment usb browsing-topics"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Origin-Agent-Cluster": "?1",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in DENIED.split()),
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
}


@pytest.mark.parametrize("url", [*PUBLIC_PAGES, *PRIVATE_PAGES, "/static/css/tokens.css", "/livez", "/readyz"])
def test_every_answer_carries_the_header_set(app: Flask, url: str) -> None:
    ada = Visitor.signed_in(app, "ada@example.com")
    headers = ada.client.get(url, headers=PAGE, base_url="https://localhost", buffered=True).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    policy["script-src"] = re.sub(r"'nonce-[\w-]{32}'", "<nonce>", policy["script-src"].strip())
    assert policy == POLICY
    assert {name: headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("url", [*PUBLIC_PAGES, *PRIVATE_PAGES])
def test_a_page_has_no_inline_script_but_the_nonced_import_map_and_no_inline_style(app: Flask, url: str) -> None:
    visitor = Visitor(app) if url in PUBLIC_PAGES else Visitor.signed_in(app, "ada@example.com")
    response = visitor.get(url)
    (nonce,) = re.findall(r"script-src +'nonce-([^']+)'", response.headers["Content-Security-Policy"])
    inline = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", response.text)
    assert inline == [f' type="importmap" nonce="{nonce}"']
    assert all(f'nonce="{nonce}"' in script for script in re.findall(r"<script[^>]*>", response.text))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", response.text)
    assert nonce not in visitor.get(url).text


def test_hsts_is_sent_over_https_in_production(make_app: MakeApp) -> None:
    response = make_app(app_env="production").test_client().get("/", base_url="https://localhost")
    assert re.fullmatch(r"max-age=(\d+); includeSubDomains", response.headers["Strict-Transport-Security"])
    assert int(re.findall(r"\d+", response.headers["Strict-Transport-Security"])[0]) >= 31_536_000


def test_pages_are_never_kept(ada: Visitor) -> None:
    assert ada.get("/chat").headers["Cache-Control"] == "no-store"


def test_every_unsafe_route_refuses_a_request_without_a_token(app: Flask, ada: Visitor) -> None:
    with app.app_context():
        unsafe = [route for route in table().values() if route.method not in ("GET", "HEAD")]
    assert len(unsafe) > 8
    for route in unsafe:
        rule = next(app.url_map.iter_rules(route.endpoint))
        with app.test_request_context():
            url = app.url_for(route.endpoint, **dict.fromkeys(rule.arguments, str(uuid.uuid4())))
        for body in ({"data": {"text": "x"}}, {"json": {"text": "x"}}):
            refused = ada.client.post(url, headers=FETCH, **body)
            assert refused.status_code == 400, url
            assert refused.json["type"] == "urn:problem:csrf"
        page = ada.client.post(url, headers=PAGE)
        assert "open for too long" in page.text


@pytest.mark.parametrize("referrer", [None, "https://evil.example/", "http://localhost/"])
def test_over_https_a_post_from_another_site_is_refused_even_with_a_token(ada: Visitor, referrer: str | None) -> None:
    token = ada.get("/account/csrf", FETCH).json["token"]
    headers = FETCH | {"X-CSRFToken": token} | ({"Referer": referrer} if referrer else {})
    refused = ada.client.post("/logout", headers=headers, base_url="https://localhost")
    assert (refused.status_code, refused.json["type"]) == (400, "urn:problem:csrf")


def test_another_sessions_token_is_refused(ada: Visitor, bob: Visitor) -> None:
    token = bob.get("/account/csrf", FETCH).json["token"]
    assert ada.client.post("/chat", headers=FETCH | {"X-CSRFToken": token}).status_code == 400


@pytest.mark.parametrize(
    ("url", "method", "status"),
    [("/nothing-here", "GET", 404), ("/logout", "GET", 405), ("/account/settings", "GET", 401), ("/chat", "POST", 422)],
)
def test_errors_are_pages_for_browsers_and_problems_for_programs(
    app: Flask, url: str, method: str, status: int
) -> None:
    visitor = Visitor(app) if status == 401 else Visitor.signed_in(app, "ada@example.com")
    send = visitor.post if method == "POST" else visitor.get
    problem = send(url, FETCH)
    assert problem.status_code == status
    assert problem.mimetype == "application/problem+json"
    assert problem.json["status"] == status
    assert re.fullmatch(r"(?!0{32})[0-9a-f]{32}", problem.json["trace_id"])
    assert problem.json["title"]
    if status != 401:
        page = send(url, PAGE)
        assert page.status_code == status
        assert page.mimetype == "text/html"
        assert re.search(r"Reference: <code>[0-9a-f]{32}</code>", page.text)


def test_an_unexpected_error_says_nothing_of_its_cause(app: Flask, ada: Visitor) -> None:
    from app.security.access import PUBLIC, Route, register

    def broken() -> str:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    app._got_first_request = False
    app.add_url_rule("/broken", view_func=broken, endpoint="broken")
    register(app, [Route("broken", "GET", PUBLIC)])
    for headers in (FETCH, PAGE):
        response = ada.get("/broken", headers)
        assert response.status_code == 500
        assert "secret" not in response.text
        assert "Traceback" not in response.text


def test_a_bad_form_names_each_field(ada: Visitor) -> None:
    refused = ada.post("/chat", text="   ", client_key="!")
    assert refused.status_code == 422
    assert set(refused.json["errors"]) == {"text", "client_key"}


def test_a_question_that_is_too_long_is_refused_and_a_longest_one_is_not(
    make_app: MakeApp, scripted: ScriptedModel
) -> None:
    ada = Visitor.signed_in(make_app(max_message_chars=10), "ada@example.com")
    assert ada.post("/chat", text="x" * 11, client_key=str(uuid.uuid4())).status_code == 422
    scripted.answer("ok")
    ada.ask("x" * 10).page()


def test_an_oversized_body_is_refused(ada: Visitor) -> None:
    assert ada.post("/chat", text="x" * 1_100_000, client_key=str(uuid.uuid4())).status_code == 413


def test_unknown_hosts_are_refused_when_the_hosts_are_set(make_app: MakeApp) -> None:
    client = make_app(trusted_hosts=["chat.example.net"]).test_client()
    assert client.get("/", base_url="http://evil.example.net").status_code == 400
    assert client.get("/", base_url="http://chat.example.net").status_code == 200


@pytest.mark.parametrize(("hops", "expected"), [(0, "127.0.0.1"), (1, "192.0.2.2"), (2, "192.0.2.1")])
def test_only_counted_proxies_are_believed(make_app: MakeApp, hops: int, expected: str) -> None:
    app = make_app(proxy_hops=hops)
    ada = Visitor.signed_in(app, "ada@example.com")
    with app.test_request_context():
        pass
    forwarded = {"X-Forwarded-For": "203.0.113.9, 192.0.2.1, 192.0.2.2"}
    csrf = ada.client.get("/account/csrf", headers=FETCH).json["token"]
    ada.client.post("/register", data={"email": "x"}, headers=FETCH | forwarded | {"X-CSRFToken": csrf})
    other = Visitor(app)
    csrf = other.client.get("/account/csrf", headers=FETCH).json["token"]
    form = {"email": "new@example.com", "password": "correct horse battery"}
    other.client.post("/register", data=form, headers=PAGE | forwarded | {"X-CSRFToken": csrf})
    assert expected in other.get("/account/settings").text


def test_health_says_ready_and_why_not(app: Flask, ada: Visitor) -> None:
    assert ada.get("/livez", FETCH).json == {"status": "ok"}
    assert ada.get("/readyz", FETCH).json["status"] == "ok"


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("UPDATE alembic_version SET version_num = 'from-the-future'", 200),
        ("DELETE FROM alembic_version", 503),
        ("DROP TABLE alembic_version", 503),
    ],
    ids=["ahead", "behind", "empty"],
)
def test_ready_unless_the_schema_is_behind(app: Flask, ada: Visitor, sql: str, status: int) -> None:
    from sqlalchemy import text

    from app.database import db

    with app.app_context():
        db.session.execute(text(sql))
        db.session.commit()
    assert ada.get("/readyz", FETCH).status_code == status
