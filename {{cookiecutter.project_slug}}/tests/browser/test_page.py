"""The page for everyone: assistive technology, keyboards, small screens, dark rooms, no JavaScript."""

from __future__ import annotations

from collections.abc import Callable

from browsing import ACCOUNT, NUMBERS, OPERATORS, ask, become_operator, finished, focus, shown, sign_up
from live import LiveServer
from looks import looks_right
from playwright.sync_api import BrowserContext, Page, expect

NewContext = Callable[..., BrowserContext]


def test_assistive_technology_is_told_what_happens(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    expect(page.get_by_role("log")).to_have_count(1)
    ask(page, "count to 12")
    expect(page.get_by_role("status").first).to_have_text("The assistant is answering.")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    finished(page)
    expect(page.get_by_role("status").first).to_have_text("Answer complete.")
    assert page.locator(".answer").get_attribute("aria-busy") is None


def test_everything_can_be_done_by_keyboard(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    page.keyboard.type("count to 30")
    page.keyboard.press("Enter")
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    focus(page, stop)
    page.keyboard.press("Enter")
    finished(page)
    focus(page, page.get_by_role("button", name="Rename"))
    page.keyboard.press("Enter")
    page.get_by_label("Title").fill("By keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()
    focus(page, page.get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    focus(page, page.get_by_role("button", name="Undo"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()


def looks_right_everywhere(page: Page, name: str) -> None:
    """In both schemes, on a phone and on a desk."""
    for scheme in ("light", "dark"):
        for width in (320, 1280):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 700})
            looks_right(page, f"{name}-{scheme}-{width}")


def test_no_page_overflows_in_either_scheme(new_context: NewContext, server: LiveServer) -> None:
    context = new_context(reduced_motion="reduce")
    page = context.new_page()
    for name in ("", "login", "register", "nothing-here"):
        page.goto(f"{server.url}/{name}")
        looks_right_everywhere(page, name or "home")
    page.close()
    page = sign_up(context, server.url)
    looks_right_everywhere(page, "empty")
    ask(page, "What can you do? " + "Averyveryverylongword" * 8)
    finished(page)
    looks_right_everywhere(page, "chat")
    become_operator(server)
    for name in (*ACCOUNT, *OPERATORS):
        assert page.goto(f"{server.url}/{name}").ok
        looks_right_everywhere(page, name.split("/")[1])


def test_without_javascript_one_can_ask_and_read(new_context: NewContext, server: LiveServer) -> None:
    context = new_context(java_script_enabled=False)
    page = sign_up(context, server.url)
    page.get_by_label("Message").fill("count to 12")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=15_000)  # the page loads itself anew
    assert shown(page) == NUMBERS[:12]
