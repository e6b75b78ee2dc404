"""Someone decides what a tool may do."""

from __future__ import annotations

from browsing import ask, finished, sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, expect


def test_a_tool_waits_for_the_user_across_a_reload_and_on_a_second_device(
    context: BrowserContext, server: LiveServer
) -> None:
    page = sign_up(context, server.url)
    ask(page, "Hello there")
    finished(page)
    page.goto(f"{server.url}/chat")
    ask(page, "delete conversation Hello there")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_have_count(0)
    page.get_by_label("Message").fill("and then?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Approve or deny first")).to_be_visible()
    page.reload()
    other = context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Deleted “Hello there”.").last).to_be_visible()
    finished(page)
    expect(page.get_by_label("Message")).to_have_value("and then?")
    other.get_by_role("button", name="Deny").click()
    finished(other)
    expect(other.locator(".approval")).to_have_count(0)
    page.goto(f"{server.url}/chat")
    expect(page.locator("#conversations").get_by_text("Hello there", exact=True)).to_have_count(0)
