"""What someone with a browser does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from functools import cache

from live import ROOT, LiveServer
from playwright.sync_api import BrowserContext, Locator, Page, expect
from support import PASSWORD

from app.chat.model.demo import number_word

NUMBERS = [number_word(number) for number in range(1, 201)]
ACCOUNT = ["account/settings", "account/password", "account/email", "account/two-factor", "account/delete"]
OPERATORS = ["admin/activity", "admin/readiness"]


def sign_up(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(f"{url}/register")
    page.get_by_label("Email").fill(f"{uuid.uuid4().hex[:10]}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/chat")
    return page


def become_operator(server: LiveServer) -> None:
    """Make who signed up last an administrator, with a result of ``flask ready`` to look at."""
    _ask_checklist(server)
    with closing(sqlite3.connect(server.folder / "app.db")) as database, database:
        database.execute("UPDATE users SET is_admin = 1 WHERE rowid = (SELECT max(rowid) FROM users)")


@cache
def _ask_checklist(server: LiveServer) -> None:
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "ready", "--stage", "pre"]
    asked = subprocess.run(command, cwd=server.folder, env=server.environment, capture_output=True, text=True)  # noqa: PLW1510
    assert "secret-key" in asked.stdout, asked.stderr


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".question").filter(has_text=text).last).to_be_visible()


def shown(page: Page) -> list[str]:
    return page.locator(".answer-body").last.inner_text().split()


def finished(page: Page, seconds: float = 60) -> None:
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=seconds * 1000)


def focus(page: Page, wanted: Locator) -> None:
    """Tab until *wanted* has the focus."""
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} is not reached by Tab")
