"""Answers in a real browser survive reloads, lost connections and impatience."""

from __future__ import annotations

import random
import time

from browsing import NUMBERS, ask, finished, shown, sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, expect
from proxy import Proxy
from support import wait_until


def test_every_number_is_shown_once_whatever_the_network_does(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    ask(page, "count to 200")
    page.wait_for_url("**/chat/*")
    other = context.new_page()
    other.goto(page.url)
    chance, drops = random.Random(7), 0
    wait_until(lambda: len(shown(page)) > 5)
    page.reload()
    for _ in range(5):
        time.sleep(chance.uniform(0.1, 0.5))
        drops += bool(wait_until(proxy.drop))
    proxy.busy = True  # an HTTP error closes an EventSource for good
    proxy.drop()
    time.sleep(1.2)
    proxy.busy = False
    wait_until(lambda: len(shown(page)) > 40, 20)
    context.set_offline(True)
    proxy.drop()
    before = len(shown(page))
    time.sleep(10)
    assert len(shown(page)) <= before + 5
    context.set_offline(False)
    for _ in range(5):
        time.sleep(chance.uniform(0.1, 0.4))
        drops += bool(wait_until(proxy.drop))
    for view in (page, other):
        finished(view)
        assert shown(view) == NUMBERS
    page.reload()
    assert shown(page) == NUMBERS
    assert drops == 10


def test_stop_works_also_after_a_reload(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    ask(page, "count to 200")
    wait_until(lambda: len(shown(page)) > 5)
    page.reload()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=2000)
    kept = shown(page)
    assert kept == NUMBERS[: len(kept)]
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Regenerate")).to_have_count(0)
    page.get_by_role("button", name="Stop").click()


def test_a_double_submit_makes_one_message(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    page.get_by_label("Message").fill("count to 3")
    page.evaluate("() => { const f = document.getElementById('composer'); f.requestSubmit(); f.requestSubmit(); }")
    finished(page)
    expect(page.locator(".question")).to_have_count(1)
    page.goto(f"{server.url}/chat")
    expect(page.locator("#conversations li")).to_have_count(1)


def test_a_message_during_an_answer_is_sent_after_it(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    ask(page, "count to 60")
    page.wait_for_url("**/chat/*")
    page.get_by_label("Message").fill("count to 3")
    page.keyboard.press("Enter")
    expect(page.get_by_text("will be sent after this answer")).to_be_visible()
    expect(page.locator(".question")).to_have_count(2, timeout=30_000)
    finished(page)
    assert shown(page) == NUMBERS[:3]


def test_the_draft_survives_a_reload_and_a_refusal(context: BrowserContext, proxy: Proxy) -> None:
    page = sign_up(context, proxy.url)
    page.get_by_label("Message").fill("precious words")
    page.reload()
    assert page.get_by_label("Message").input_value() == "precious words"
    proxy.busy = True
    proxy.drop()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.get_by_label("Message").input_value() == "precious words"
    proxy.busy = False
    page.close()  # as a crash does
    later = context.new_page()
    later.goto(f"{proxy.url}/chat")
    expect(later.get_by_label("Message")).to_have_value("precious words")
    later.get_by_role("button", name="Sign out").click()
    later.wait_for_url(f"{proxy.url}/")
    assert later.evaluate("localStorage.length + sessionStorage.length") == 0


def test_a_stale_token_heals_itself(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    page.evaluate("() => { document.querySelector('meta[name=csrf-token]').content = 'stale'; }")
    ask(page, "count to 2")
    finished(page)
    assert shown(page) == NUMBERS[:2]


def test_after_signing_out_the_page_of_a_conversation_is_gone(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    ask(page, "count to 2")
    finished(page)
    url = page.url
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.url}/")
    page.goto(url)
    assert "/login" in page.url
    page.go_back()
    assert page.locator(".answer").count() == 0


def test_the_view_stays_at_the_end_unless_the_reader_scrolls_away(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    page.set_viewport_size({"width": 400, "height": 500})
    ask(page, "Tell me about yourself")
    finished(page)
    ask(page, "Tell me more")
    finished(page)
    gap = "() => { const m = document.getElementById('main'); return m.scrollHeight - m.scrollTop - m.clientHeight; }"
    assert page.evaluate(gap) < 5
    ask(page, "And more")
    page.mouse.move(200, 200)
    page.mouse.wheel(0, -600)
    time.sleep(0.3)
    position = page.evaluate("document.getElementById('main').scrollTop")
    finished(page)
    assert abs(page.evaluate("document.getElementById('main').scrollTop") - position) < 5
    page.get_by_role("button", name="Jump to latest").click()
    assert page.evaluate(gap) < 5
    expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()
