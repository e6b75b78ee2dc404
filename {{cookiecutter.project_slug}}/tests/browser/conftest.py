"""A real browser, and the application as it is served."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import LiveServer
from playwright.sync_api import Browser, BrowserContext, Error, sync_playwright
from proxy import Proxy
from support import missing

NewContext = Callable[..., BrowserContext]
EXPECTED = re.compile(r"net::ERR_|status of (400|401|404|409|422|429|503) ")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=installed, args=ARGUMENTS)
        except Error as error:
            missing(f"Chromium is missing; `uv run playwright install chromium` brings it ({error.message[:60]})")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("browser")
    shutil.copy(migrated, folder / "app.db")
    server = LiveServer(folder).start()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: LiveServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[NewContext]:
    """Makes browser contexts; an unexpected word in the console of any fails the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        context.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
        context.on("weberror", lambda error: problems.append(str(error.error)))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    # A dropped connection is what some tests are about; anything else is a mistake of ours.
    assert [text for text in problems if not EXPECTED.search(text)] == []


@pytest.fixture
def context(new_context: NewContext) -> BrowserContext:
    return new_context(reduced_motion="reduce")
