"""A synthetic user who does what people do, at an application in this process or at a site."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import httpx2
from flask import Flask
from sqlalchemy import delete

from app.accounts.models import User
from app.database import transaction
from app.operations import OperationError

PATIENCE = 60  # seconds for each answer of a site


def within(app: Flask) -> httpx2.Client:
    """A browser, as it were, that asks *app* in this process, each from a network of its own: limits are for people."""
    transport = httpx2.WSGITransport(app=app, remote_addr=f"2001:db8:{secrets.token_hex(2)}::1")
    return httpx2.Client(transport=transport, base_url="https://localhost")


def post(client: httpx2.Client, path: str, **form: str) -> httpx2.Response:
    """Send a form with the CSRF token and the referrer that it needs."""
    token = client.get("/account/csrf").json()["token"]
    headers = {"X-CSRFToken": token, "Referer": str(client.base_url)}
    return client.post(path, data=form, headers=headers, timeout=PATIENCE)


@contextmanager
def someone(app: Flask, client: httpx2.Client) -> Iterator[tuple[UUID, str]]:
    """Sign in as someone new, who is never mailed and gone afterwards; id and address."""
    password, email = secrets.token_urlsafe(), f"synthetic-{secrets.token_hex(8)}@example.com"
    with app.app_context(), transaction() as session:
        session.add(user := User.confirmed(email, password))
    try:
        must(post(client, "/login", email=email, password=password), "signing in", 302)
        yield user.id, email
    finally:
        with app.app_context(), transaction() as session:
            session.execute(delete(User).where(User.id == user.id))


def must(response: httpx2.Response, what: str, status: int = 200, shows: str = "") -> httpx2.Response:
    """*response*, if it has this status and shows this text; raises OperationError otherwise."""
    if response.status_code != status or shows not in response.text:
        raise OperationError(f"{what} answers {response.status_code}, not {status} and {shows or 'anything'!r}")
    return response


def travel(app: Flask, client: httpx2.Client) -> None:
    """Sign in, ask, read the streamed answer, export it, delete the account; raises OperationError where it fails."""
    with someone(app, client) as (_, email):
        asked = must(post(client, "/chat", text="count to 3", client_key=str(uuid4())), "asking", 201).json()
        events = re.findall(r'data-events="([^"]+)"', asked["messages"])[0]
        must(client.get(events, timeout=PATIENCE), "the answer's stream", shows="event: done")
        must(client.get(f"{asked['url']}/export"), "the export", shows="count to 3")
        must(post(client, "/account/delete", email=email), "deleting the account", 303)
        must(client.get("/chat", headers={"Accept": "application/json"}), "the chat afterwards", 401)
