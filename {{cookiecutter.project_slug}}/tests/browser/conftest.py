"""A real browser, and the application as it is served."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import LiveServer
from playwright.sync_api import Browser, BrowserContext, Error, sync_playwright
from proxy import Proxy

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
            if os.environ.get("CI"):
                raise
            pytest.skip(f"Chromium is missing; `uv run playwright install chromium` brings it ({error.message[:60]})")
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
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(10_000)
    problems: list[str] = []
    context.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
    context.on("weberror", lambda error: problems.append(str(error.error)))
    yield context
    context.close()
    # A dropped connection is what some tests are about; anything else in the console is a mistake of ours.
    assert [text for text in problems if "ERR_" not in text and "503" not in text] == []
