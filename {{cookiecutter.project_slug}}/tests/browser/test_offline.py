"""Without a network the app opens and takes messages; with it they are sent once; nothing of anybody is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import NUMBERS, finished, shown, sign_up
from live import ROOT, LiveServer
from playwright.sync_api import BrowserContext, Page, expect
from proxy import Proxy
from support import wait_until

SHOTS = ROOT / "test-results"
KEPT_HERE = """async () => {
  const found = [];
  for (const name of await caches.keys())
    for (const request of await (await caches.open(name)).keys()) {
      const body = await (await (await caches.open(name)).match(request)).text();
      found.push([request.url, body]);
    }
  for (const { name } of await indexedDB.databases()) {
    const opening = indexedDB.open(name);
    const database = await new Promise((done) => { opening.onsuccess = () => done(opening.result); });
    for (const store of database.objectStoreNames) {
      const all = database.transaction(store).objectStore(store).getAll();
      found.push([store, await new Promise((done) => { all.onsuccess = () => done(JSON.stringify(all.result)); })]);
    }
  }
  return [...found, ["storage", JSON.stringify([{ ...sessionStorage }, { ...localStorage }])]];
}"""


def installed(page: Page) -> None:
    """The worker is there and serves this page."""
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    if not page.evaluate("() => navigator.serviceWorker.controller !== null"):
        page.reload()  # a page that was on its way while the worker began is its own from the next time on
    wait_until(lambda: page.evaluate("() => navigator.serviceWorker.controller !== null"))


def begin(page: Page, text: str) -> None:
    """A new conversation and its answer."""
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*")
    finished(page)


def go_offline(context: BrowserContext, proxy: Proxy) -> None:
    context.set_offline(True)
    proxy.drop()


def test_a_message_written_offline_is_sent_once_and_answered(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    begin(page, "count to 3")
    page.goto(f"{proxy.url}/chat")
    installed(page)
    go_offline(context, proxy)
    page.goto(f"{proxy.url}/chat")
    expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
    expect(page.get_by_role("link", name="count to 3")).to_be_visible()
    page.get_by_label("Message").fill("count to 5")
    page.get_by_role("button", name="Send").click()
    page.get_by_label("Message").fill("count to 7")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Waits to be sent")).to_have_count(2)
    page.get_by_label("Message").fill("a draft")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "offline.png")
    page.reload()
    expect(page.get_by_text("Waits to be sent")).to_have_count(2)
    context.set_offline(False)
    expect(page.locator("#conversations li")).to_have_count(1, timeout=15_000)  # the real page is back by itself
    expect(page.get_by_label("Message")).to_have_value("a draft")
    expect(page.get_by_text("Waits to be sent")).to_have_count(0, timeout=20_000)
    page.goto(f"{proxy.url}/chat")
    expect(page.locator("#conversations li")).to_have_count(2)
    page.get_by_role("link", name="count to 5").click()
    expect(page.locator(".question-text")).to_have_text(["count to 5", "count to 7"])
    finished(page)
    assert shown(page) == NUMBERS[:7]


def test_the_network_is_lost_in_an_open_conversation(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    begin(page, "count to 2")
    installed(page)
    go_offline(context, proxy)
    for number in (4, 6):
        page.get_by_label("Message").fill(f"count to {number}")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_label("Message")).to_have_value("")
    expect(page.get_by_text("Waits to be sent")).to_have_count(2)
    page.screenshot(path=SHOTS / "waits-to-be-sent.png")
    context.set_offline(False)
    expect(page.locator(".question-text")).to_have_text(["count to 2", "count to 4", "count to 6"], timeout=20_000)
    finished(page)
    page.reload()
    expect(page.locator(".question-text")).to_have_text(["count to 2", "count to 4", "count to 6"])
    assert shown(page) == NUMBERS[:6]


def test_a_message_whose_acknowledgement_is_lost_is_not_sent_twice(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    installed(page)
    lost = []

    def lose(route: object) -> None:
        if not lost:
            lost.append(route.fetch().status)  # the server has it
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(re.compile("/chat$"), lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    page.get_by_label("Message").fill("count to 4")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*")
    finished(page)
    assert lost == [201]
    expect(page.locator("#conversations li")).to_have_count(1)
    expect(page.locator(".question-text")).to_have_text(["count to 4"])


def test_a_waiting_message_can_be_removed_and_a_refused_one_says_why(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    begin(page, "count to 2")
    other = context.new_page()
    other.goto(page.url)
    go_offline(context, proxy)
    for text in ("first", "second"):
        page.get_by_label("Message").fill(text)
        page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Waits to be sent")).to_have_count(2)
    page.get_by_role("button", name="Remove").first.click()
    expect(page.get_by_text("Waits to be sent")).to_have_count(1)
    page.evaluate("() => dispatchEvent(new Event('offline'))")
    context.set_offline(False)
    expect(page.locator(".question-text")).to_have_text(["count to 2", "second"], timeout=20_000)


def test_after_signing_out_nothing_private_is_kept(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    begin(page, "count to 2, my secret plan")
    page.goto(f"{proxy.url}/chat")
    installed(page)
    email = page.locator(".who").inner_text()
    assert "my secret plan" in json.dumps(page.evaluate(KEPT_HERE))  # the titles, for offline
    page.get_by_label("Message").fill("an unsent secret")
    go_offline(context, proxy)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Waits to be sent")).to_be_visible()
    page.get_by_label("Message").fill("a secret draft")
    proxy.busy = True  # online again, but not for what waits
    context.set_offline(False)
    page.once("dialog", lambda dialog: dialog.dismiss())
    with page.expect_event("dialog") as asked:
        page.get_by_role("button", name="Sign out").click()
    assert "Not yet sent: 1" in asked.value.message
    expect(page.get_by_text("Waits to be sent")).to_be_visible()
    proxy.busy = False
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{proxy.url}/")
    kept = page.evaluate(KEPT_HERE)
    urls = {url for url, _ in kept if url.startswith("http")}
    assert urls
    assert all("/static/" in url or url.endswith("/offline") for url in urls), urls
    assert "secret" not in json.dumps(kept)
    assert email not in json.dumps(kept)
    assert [content for store, content in kept if store in ("outbox", "kept")] == ["[]", "[]"]
    go_offline(context, proxy)
    page.goto(f"{proxy.url}/chat")
    expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
    expect(page.get_by_label("Message")).to_be_hidden()


def test_another_account_finds_nothing_of_the_one_before(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    begin(page, "count to 2, my secret plan")
    page.goto(f"{proxy.url}/chat")
    installed(page)
    context.clear_cookies()  # the session has ended without a sign-out
    page.close()
    other = sign_up(context, proxy.url)
    installed(other)
    assert "secret" not in json.dumps(other.evaluate(KEPT_HERE))


def test_private_pages_and_streams_are_not_kept(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    installed(page)
    begin(page, "count to 3")
    page.goto(f"{proxy.url}/account/settings")
    page.goto(f"{proxy.url}/")
    kept = [url for url, _ in page.evaluate(KEPT_HERE) if url.startswith("http")]
    assert kept
    assert all("/static/" in url or url.endswith("/offline") for url in kept), kept


@pytest.fixture
def newer(server: LiveServer) -> Iterator[Path]:
    """The page that the worker keeps, to be changed as a release does."""
    path = ROOT / "src/app/static/css/tokens.css"
    before = path.read_text("utf-8")
    yield path
    path.write_text(before, "utf-8")


def test_a_new_version_asks_and_takes_over_without_losing_a_draft(
    context: BrowserContext, server: LiveServer, newer: Path
) -> None:
    page = sign_up(context, server.url)
    installed(page)
    (before,) = page.evaluate("() => caches.keys()")
    newer.write_text(newer.read_text("utf-8") + "/* new */\n", "utf-8")
    page.get_by_label("Message").fill("precious words")
    page.wait_for_timeout(1500)  # in development the server looks at its files once a second
    page.evaluate("async () => { await (await navigator.serviceWorker.getRegistration()).update(); }")
    offer = page.get_by_text("A new version is ready.")
    expect(offer).to_be_visible()
    page.screenshot(path=SHOTS / "update.png")
    page.get_by_role("button", name="Later").click()
    expect(offer).to_be_hidden()
    assert len(page.evaluate("() => caches.keys()")) == 2  # the old version serves on
    page.reload()
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()
    expect(page.get_by_label("Message")).to_have_value("precious words")
    expect(page.locator("#conversations")).to_be_attached()
    (after,) = page.evaluate("() => caches.keys()")
    assert after != before
    expect(offer).to_have_count(0)
