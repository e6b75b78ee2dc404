"""Every page and state is free of axe-core's findings, in both schemes; a keyboard is enough for everything."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browsing import ACCOUNT, OPERATORS, become_operator, finished, focus, sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, Locator, Page, expect
from support import PASSWORD

NewContext = Callable[..., BrowserContext]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PUBLIC = ["", "login", "register", "reset", "nothing-here", "offline"]


def findings(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core has against the page as it is now."""
    page.evaluate(AXE_SCRIPT)
    result: dict[str, Any] = page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
    assert len(result["passes"]) > 10
    return [(found["id"], [node["html"] for node in found["nodes"]]) for found in result["violations"]]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def person(new_context: NewContext, scheme: str) -> BrowserContext:
    return new_context(color_scheme=scheme, reduced_motion="reduce")


def test_no_page_has_findings(context: BrowserContext, server: LiveServer) -> None:
    def looks_at(page: Page, name: str) -> None:
        page.goto(f"{server.url}/{name}")
        assert page.url.endswith(name), page.url
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert findings(page) == [], f"{name}, {scheme}"

    page = context.new_page()
    for name in PUBLIC:
        looks_at(page, name)
    page = sign_up(context, server.url)
    become_operator(server)
    for name in ("chat", *ACCOUNT, *OPERATORS):
        looks_at(page, name)


def test_no_state_of_the_chat_has_findings(person: BrowserContext, server: LiveServer) -> None:
    page = sign_up(person, server.url)
    page.get_by_label("Message").fill("count to 60")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert findings(page) == [], "streaming"
    page.get_by_role("button", name="Stop").click()
    finished(page)
    assert findings(page) == [], "stopped"
    page.get_by_label("Message").fill("What time is it? Show me a table, code and a list.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    finished(page)
    assert findings(page) == [], "done"
    page.get_by_role("button", name="Rename").click()
    assert findings(page) == [], "renaming"
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="Conversations").click()
    assert findings(page) == [], "narrow, with the list open"
    page.keyboard.press("Escape")
    person.set_offline(True)
    page.get_by_label("Message").fill("later")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Waits to be sent")).to_be_visible()
    assert findings(page) == [], "waiting for the network"
    page.goto(page.url)
    expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
    assert findings(page) == [], "offline"


def test_labels_and_landmarks(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    for role in ("main", "log"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("navigation", name="Conversations")).to_have_count(1)
    assert re.search(r"\w", page.title())


def go(page: Page, wanted: Locator, keys: str = "Enter") -> None:
    """Tab to *wanted* and press *keys* there."""
    focus(page, wanted)
    assert wanted.evaluate("element => getComputedStyle(element).outlineStyle !== 'none'"), f"{wanted} shows no focus"
    page.keyboard.press(keys)


def test_a_keyboard_is_enough_from_sign_up_to_export(context: BrowserContext, server: LiveServer) -> None:
    page = context.new_page()
    page.goto(server.url)
    go(page, page.get_by_role("link", name="Create an account"))
    page.wait_for_url("**/register")
    focus(page, page.get_by_label("Email"))
    page.keyboard.type(f"{uuid.uuid4().hex[:10]}@example.com")
    focus(page, page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat")
    page.keyboard.type("count to 60")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/*")
    go(page, page.get_by_role("button", name="Stop"))
    finished(page)
    go(page, page.get_by_role("link", name="Settings"))
    focus(page, page.get_by_label("As the device says"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    go(page, page.get_by_role("button", name="Save appearance"))
    expect(page.locator("html")).to_have_attribute("data-scheme", "dark")
    focus(page, page.get_by_role("link", name="Download my data"))
    with page.expect_download() as export:
        page.keyboard.press("Enter")
    assert "count to 60" in Path(export.value.path()).read_text("utf-8")
    page.reload()
    go(page, page.get_by_role("button", name="Sign out"))
    page.wait_for_url(f"{server.url}/")
