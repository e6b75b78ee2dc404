"""What someone with a browser does."""

from __future__ import annotations

import uuid

from playwright.sync_api import BrowserContext, Locator, Page, expect
from support import PASSWORD

from app.chat.demo_model import number_word

NUMBERS = [number_word(number) for number in range(1, 201)]


def sign_up(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(f"{url}/register")
    page.get_by_label("Email").fill(f"{uuid.uuid4().hex[:10]}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url("**/chat")
    return page


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
