"""What an attacker meets: production settings, https, a proxy hop; asked over HTTP and by nothing else."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from app.security.headers import TABLE
from posture.site import PASSWORD, Guest, Mailbox

EVERYWHERE = ["/", "/login", "/register", "/reset", "/livez", "/readyz", "/nothing-here", "/chat", "/static/icon.svg"]
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("path", EVERYWHERE)
def test_every_answer_carries_the_headers(guest: Guest, path: str) -> None:
    headers = guest.ask(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    script = policy.pop("script-src")
    assert re.fullmatch(r" *'nonce-[\w-]{32}'", script)
    assert policy == {name: value for name, value in TABLE["content-security-policy"].items() if name != "script-src"}
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Permissions-Policy"] == ", ".join(f"{name}=()" for name in TABLE["permissions-policy"])
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    seconds, rest = re.fullmatch(r"max-age=(\d+)(.*)", headers["Strict-Transport-Security"]).groups()
    assert int(seconds) >= 365 * 24 * 3600
    assert rest == "; includeSubDomains"
    for name, value in TABLE["others"].items():
        if not path.startswith("/static") or name != "Cross-Origin-Resource-Policy":
            assert headers[name] == value
    if not path.startswith("/static"):
        assert headers["Cache-Control"] == "no-store"
        assert "Cookie" in headers["Vary"]


@pytest.mark.parametrize("path", ["/login", "/nothing-here"])
def test_the_nonce_is_new_each_time_and_on_the_one_inline_script(guest: Guest, path: str) -> None:
    nonces = []
    for _ in range(2):
        answer = guest.ask(path)
        (nonce,) = re.findall(r"'nonce-([^']+)'", answer.headers["Content-Security-Policy"])
        assert re.findall(r"<script(?![^>]*src=)[^>]*>", answer.text) == [f'<script type="importmap" nonce="{nonce}">']
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_cookies_are_bound_to_this_host_and_to_https(guest: Guest) -> None:
    (cookie,) = guest.ask("/login").headers.get_all("Set-Cookie")
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("path", ["/login", "/register", "/reset", "/confirm", "/logout", "/login/code"])
@pytest.mark.parametrize("kind", ["page", "fetch"])
def test_a_post_without_a_token_is_refused(guest: Guest, path: str, kind: str) -> None:
    accept = JSON if kind == "fetch" else "text/html"
    own = {"Referer": guest.url.geturl() + "/", "Content-Type": FORM, "Accept": accept}
    answer = guest.ask(path, "POST", "email=a%40example.com&password=x", **own)
    assert answer.status == 400
    assert "open for too long" in answer.text


def test_a_token_works_for_its_own_session_only(guest: Guest, site: object) -> None:
    other = site.guest()  # type: ignore[attr-defined]
    token = other.token()
    assert guest.post("/login", {"X-CSRFToken": token}, email="a@example.com", password="x").status == 400
    assert guest.post("/login", email="a@example.com", password="x").status == 200


@pytest.mark.parametrize("referrer", ["", "https://evil.example/", "http://localhost/"])
def test_a_post_from_another_site_is_refused_even_with_a_token(guest: Guest, referrer: str) -> None:
    assert guest.post("/login", {"Referer": referrer}, email="a@example.com", password="x").status == 400


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2"])
def test_other_host_names_are_refused(guest: Guest, host: str) -> None:
    answer = guest.ask("/login", Host=host)
    assert answer.status in (400, 421) or not answer.text  # by the application, or by the proxy before it
    assert host not in answer.text


@pytest.mark.parametrize("path", ["/.git/config", "/.env", "/static/../.env", "/static/%2e%2e/config.py", "/console"])
def test_nothing_private_is_served(guest: Guest, path: str) -> None:
    answer = guest.ask(path)
    assert answer.status in (400, 404)
    assert "SECRET" not in answer.text


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_methods_that_nothing_needs_are_refused(guest: Guest, method: str) -> None:
    assert guest.ask("/login", method).status in (400, 405)


def test_errors_tell_a_reference_and_no_internals(guest: Guest) -> None:
    for accept in (JSON, "text/html"):
        answer = guest.ask("/nothing-here", Accept=accept)
        assert answer.status == 404
        assert re.search(r"[0-9a-f]{32}", answer.text)
        assert not re.search(r"Traceback|site-packages|/src/|SELECT |werkzeug", answer.text)
    assert json.loads(guest.ask("/nothing-here", Accept=JSON).text)["status"] == 404


def test_bodies_are_bounded_and_of_a_known_kind(guest: Guest) -> None:
    assert {guest.post("/login", email="x" * 900_000).status for _ in range(10)} == {413}
    assert guest.post("/login", **{f"f{n}": "x" for n in range(60)}).status == 413
    assert guest.post("/login", {"Content-Type": JSON}, email="x").status == 415


def test_the_server_does_not_tell_its_versions(guest: Guest) -> None:
    server = guest.ask("/").headers["Server"] or ""
    assert not re.search(r"\d|werkzeug|python", server, re.IGNORECASE)


def test_security_txt_says_whom_to_tell_and_has_not_expired(guest: Guest) -> None:
    answer = guest.ask("/.well-known/security.txt")
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert fields["Contact"].startswith(("mailto:", "https:"))
    assert 0 < (datetime.fromisoformat(fields["Expires"]) - datetime.now(UTC)).days < 365
    assert fields["Canonical"].startswith("https://")


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "\\/evil.example"])
def test_next_cannot_leave_the_site(member: Guest, target: str) -> None:
    page = member.ask(f"/login?next={target}")
    assert page.status == 302
    assert "evil" not in page.headers["Location"]


def test_only_a_mailed_link_signs_up_and_it_works_once(guest: Guest, mailbox: Mailbox, site: object) -> None:
    email = mailbox.sign_up(guest)
    assert guest.ask("/chat").status == 200
    stranger = site.guest()  # type: ignore[attr-defined]
    stranger.ask(mailbox.link(email, "/confirm"))
    assert stranger.ask("/chat").status == 302


@pytest.mark.parametrize("way", ["sign out", "change the password", "end the session", "delete the account"])
def test_afterwards_a_stolen_cookie_is_worth_nothing(guest: Guest, mailbox: Mailbox, site: object, way: str) -> None:
    email = mailbox.sign_up(guest)
    thief = site.guest()  # type: ignore[attr-defined]
    thief.cookies = dict(guest.cookies)
    assert thief.ask("/chat").status == 200
    if way == "sign out":
        guest.post("/logout")
    elif way == "change the password":
        answer = guest.post("/account/password", password=PASSWORD, new_password="staple a brown horse")
        assert answer.location == "/account/settings"
    elif way == "end the session":
        phone = site.guest()  # type: ignore[attr-defined]
        phone.post("/login", email=email, password=PASSWORD)
        assert phone.post("/account/sessions/end-others").status == 303
    else:
        assert guest.post("/account/delete", email=email).location == "/"
    for path in ("/chat", "/account/settings", "/account/export"):
        assert thief.ask(path, Accept=JSON).status == 401
    assert thief.post("/chat", {"Accept": JSON}, text="x", client_key="a" * 16).status == 401


def test_an_address_that_a_client_claims_does_not_lift_its_limit(guest: Guest, mailbox: Mailbox) -> None:
    statuses = []
    for number in range(40):
        claimed = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
        form = {"email": f"nobody{number}@example.com", "password": "wrong horse battery"}
        statuses.append(guest.post("/login", claimed, **form).status)
    assert 429 in statuses
    refused = guest.post("/login", {"Accept": JSON}, email="a@example.com", password="x")
    assert int(refused.headers["Retry-After"]) > 0
    assert "RateLimit" in refused.headers
    assert guest.ask("/login").status == 200
