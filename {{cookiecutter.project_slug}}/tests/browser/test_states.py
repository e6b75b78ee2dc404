"""Every state of the chat, provoked in a real browser, looked at in both schemes, narrow and wide."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import ask, sign_up
from live import LiveServer
from looks import looks_right
from playwright.sync_api import BrowserContext, Page, Route, expect
from proxy import Proxy

NewContext = Callable[..., BrowserContext]
LOOKS = [("light", 320), ("dark", 320), ("light", 1280), ("dark", 1280)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("states")
    shutil.copy(migrated, folder / "app.db")
    server = LiveServer(
        folder, application="scripted_app:app", SUGGESTIONS="How do I bake bread?|What is due today?|Help"
    )
    yield server.start()
    server.stop()


@pytest.fixture(params=LOOKS, ids=[f"{scheme}-{width}" for scheme, width in LOOKS])
def look(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param


@pytest.fixture
def page(new_context: NewContext, proxy: Proxy, look: tuple[str, int]) -> Page:
    scheme, width = look
    viewport = {"width": width, "height": 720}
    context = new_context(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return sign_up(context, proxy.url)


def send(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def test_empty_thinking_streaming_and_stopped(page: Page, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    expect(page.locator(".suggestion")).to_have_count(3)
    looks_right(page, f"empty-{name}")
    ask(page, "think about bread")
    expect(page.locator(".answer.thinking")).to_be_visible()
    looks_right(page, f"thinking-{name}")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    send(page, "Can you stream how to bake bread, please?")
    expect(page.locator("pre.tail")).to_be_visible()
    looks_right(page, f"streaming-{name}")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("You stopped this answer.").last).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    looks_right(page, f"stopped-{name}")


def test_a_tool_and_an_approval(page: Page, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    ask(page, "How is the weather?")
    expect(page.locator('.step[data-status="running"]')).to_be_visible()
    expect(page.locator(".step")).to_contain_text("Reykjavík")
    looks_right(page, f"tool-{name}")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    send(page, "Please delete the conversation about bread")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    looks_right(page, f"approval-{name}")
    page.get_by_label("Reason for denying").fill("I still need it.")
    page.get_by_role("button", name="Deny").click()
    expect(page.locator('.step[data-status="denied"]')).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    looks_right(page, f"denied-{name}")


def test_failed_interrupted_and_a_whole_answer(page: Page, server: LiveServer, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    send(page, "fail for me")
    expect(page.get_by_text("The model sent something that cannot be understood")).to_be_visible()
    looks_right(page, f"failed-{name}")
    send(page, "stream on")
    expect(page.locator("pre.tail")).to_be_visible()
    server.kill()
    server.start()
    expect(page.get_by_text("This answer was interrupted.")).to_be_visible(timeout=30_000)
    looks_right(page, f"interrupted-{name}")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("pre.tail")).to_be_visible()
    page.keyboard.press("Escape")
    send(page, "How do I bake bread?")
    expect(page.locator(".about").last).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.locator(".about summary").last.click()
    looks_right(page, f"answer-{name}")
    page.locator(".code").last.scroll_into_view_if_needed()
    looks_right(page, f"code-{name}")


def test_offline_reconnecting_and_signed_out(page: Page, proxy: Proxy, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    send(page, "stream on")
    expect(page.locator("pre.tail")).to_be_visible()
    proxy.busy = True
    proxy.drop()
    expect(page.get_by_text("Connection lost; reconnecting")).to_be_visible()
    looks_right(page, f"reconnecting-{name}")
    proxy.busy = False
    expect(page.get_by_text("Connection lost; reconnecting")).to_be_hidden(timeout=30_000)
    page.context.set_offline(True)
    expect(page.get_by_text("You are offline.")).to_be_visible()
    looks_right(page, f"offline-{name}")
    page.context.set_offline(False)
    expect(page.get_by_text("You are offline.")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.context.clear_cookies()
    send(page, "My precious words")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert page.get_by_label("Message", exact=True).input_value() == "My precious words"
    looks_right(page, f"signed-out-{name}")


def test_rate_limited_with_a_countdown_and_budget_spent(page: Page, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    send(page, "How do I bake bread?")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    limited = """async (times) => {
      const token = document.querySelector('meta[name=csrf-token]').content;
      const headers = { Accept: 'application/json', 'X-CSRFToken': token };
      const url = document.getElementById('composer').action;
      for (let i = 0; i < times; i++) await fetch(url, { method: 'POST', headers });
    }"""
    page.evaluate(limited, 70)
    send(page, "Once more")
    expect(page.get_by_role("timer")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Once more")
    looks_right(page, f"rate-limited-{name}")

    def spent(route: Route) -> None:
        detail = "What may be spent on your answers today is used up."
        problem = {"type": "urn:problem:budget-spent", "status": 429, "detail": detail}
        route.fulfill(
            status=429, json=problem, headers={"Retry-After": "20000"}, content_type="application/problem+json"
        )

    page.route("**/messages", spent)
    send(page, "Once more")
    expect(page.get_by_text("You can go on at")).to_be_visible()
    looks_right(page, f"budget-spent-{name}")


def test_search_versions_feedback_and_shortcuts(page: Page, look: tuple[str, int]) -> None:
    name = f"{look[0]}-{look[1]}"
    send(page, "How do I bake bread?")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.get_by_text("2 of 2")).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.get_by_role("button", name="Bad").click()
    page.get_by_label("What was wrong?").fill("No yeast")
    looks_right(page, f"feedback-{name}")
    page.get_by_role("button", name="Tell us").click()
    expect(page.get_by_label("What was wrong?")).to_have_count(0)
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("1 of 2")).to_be_visible()
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit your message").fill("How do I bake rye bread?")
    looks_right(page, f"edit-{name}")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator(".question")).to_contain_text("rye")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("Yes. **Knead**")
    page.get_by_role("button", name="Copy code").click()
    wanted = "navigator.clipboard.readText()"
    page.wait_for_timeout(100)
    assert page.evaluate(wanted).startswith("def dough")
    page.keyboard.press("Control+/")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    looks_right(page, f"shortcuts-{name}")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.keyboard.type("rye")
    expect(page.locator(".hit mark").first).to_be_visible()
    looks_right(page, f"search-{name}")
    page.get_by_label("Search conversations").fill(uuid.uuid4().hex)
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    looks_right(page, f"nothing-found-{name}")
