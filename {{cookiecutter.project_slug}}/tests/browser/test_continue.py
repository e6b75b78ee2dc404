"""An answer that was cut off can be continued with one click."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import ask, finished, sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, Page, expect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("continue")
    shutil.copy(migrated, folder / "app.db")
    (folder / "title").write_text("Cut off", "utf-8")
    server = LiveServer(
        folder,
        application="naming_app:app",
        MODEL="openai-chat:naming",
        OPENAI_API_KEY="none",
        MAX_ANSWER_CHARS="400",
    )
    yield server.start()
    server.stop()


@pytest.fixture
def page(context: BrowserContext, server: LiveServer) -> Page:
    """A page with an answer that was cut off."""
    page = sign_up(context, server.url)
    ask(page, "Write a long answer")
    expect(page.get_by_text("The answer was cut off")).to_be_visible()
    finished(page)
    return page


def click_continue(page: Page) -> None:
    page.get_by_role("button", name="Continue").first.click()


def test_a_click_asks_to_continue(page: Page) -> None:
    click_continue(page)
    expect(page.locator(".question-text")).to_have_text(["Write a long answer", "Continue"])
    expect(page.locator(".answer-body").last).to_have_text("You wrote: Continue")
    expect(page.get_by_label("Message")).to_have_value("")
    page.reload()
    expect(page.locator(".question-text")).to_have_text(["Write a long answer", "Continue"])


def test_a_draft_stays_in_the_field_and_is_sent_as_a_message_of_its_own(page: Page) -> None:
    page.get_by_label("Message").fill("My draft")
    click_continue(page)
    expect(page.locator(".answer-body").last).to_have_text("You wrote: Continue")
    finished(page)
    expect(page.get_by_label("Message")).to_have_value("My draft")
    page.reload()
    expect(page.get_by_label("Message")).to_have_value("My draft")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".question-text").last).to_have_text("My draft")
    expect(page.locator(".answer-body").last).to_have_text("You wrote: My draft")


def test_nothing_is_sent_while_an_answer_is_being_written(page: Page) -> None:
    button = page.locator("[data-continue]").first
    ask(page, "Go on slowly")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_label("Message").fill("My draft")
    button.dispatch_event("click")
    expect(page.get_by_text("An answer is still being written.")).to_be_visible()
    page.keyboard.press("Escape")
    finished(page)
    expect(page.get_by_label("Message")).to_have_value("My draft")
    expect(page.locator(".question-text")).to_have_text(["Write a long answer", "Go on slowly"])


def test_a_draft_is_not_sent_when_another_tab_has_asked(page: Page, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.goto(page.url)
    ask(tab, "Go on slowly")
    page.get_by_label("Message").fill("My draft")
    click_continue(page)
    expect(page.locator(".question-text")).to_have_text(["Write a long answer", "Go on slowly"])
    expect(page.get_by_label("Message")).to_have_value("My draft")
    page.get_by_role("button", name="Stop").click()
    finished(page)
    expect(page.get_by_label("Message")).to_have_value("My draft")
    expect(page.locator(".question-text")).to_have_count(2)


def test_without_a_network_it_is_sent_later(page: Page, context: BrowserContext) -> None:
    page.get_by_label("Message").fill("My draft")
    context.set_offline(True)
    click_continue(page)
    expect(page.locator("#outbox")).to_contain_text("Continue")
    expect(page.get_by_label("Message")).to_have_value("My draft")
    context.set_offline(False)
    expect(page.locator(".answer-body").last).to_have_text("You wrote: Continue", timeout=20_000)
    expect(page.get_by_label("Message")).to_have_value("My draft")
