"""What a push service delivers is shown where nobody looks at it, and opens the right conversation.

Subscribing goes through a browser vendor's service and so is not part of this; what the server sends to a subscription
is read in ``test_notifications.py``.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from browsing import sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, Page, Worker, expect

SHOWN = "() => registration.getNotifications().then((all) => all.map((n) => [n.title, n.body, n.tag, n.data]))"
CLICK = """async () => {
  const opened = [];
  clients.openWindow = async (url) => opened.push(url);
  const [notification] = await registration.getNotifications();
  const event = new NotificationEvent("notificationclick", { notification });
  const done = new Promise((resolve) => { event.waitUntil = resolve; });
  dispatchEvent(event);
  await await done;
  return [opened, (await registration.getNotifications()).length];
}"""


@pytest.fixture
def page(context: BrowserContext, server: LiveServer) -> Page:
    context.grant_permissions(["notifications"], origin=server.url)
    page = sign_up(context, server.url)
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    return page


def deliver(page: Page, url: str) -> None:
    """As the push service does."""
    registrations: list[dict[str, Any]] = []
    protocol = page.context.new_cdp_session(page)
    protocol.on("ServiceWorker.workerRegistrationUpdated", lambda event: registrations.extend(event["registrations"]))
    protocol.send("ServiceWorker.enable")
    page.wait_for_timeout(300)
    message = {"title": "Chat", "body": "Your answer is ready.", "url": url, "tag": "tag"}
    origin, registration = page.evaluate("location.origin"), registrations[-1]["registrationId"]
    delivery = {"origin": origin, "registrationId": registration, "data": json.dumps(message)}
    protocol.send("ServiceWorker.deliverPushMessage", delivery)
    page.wait_for_timeout(500)


def worker(page: Page) -> Worker:
    return page.context.service_workers[0]


def test_a_message_is_shown_and_a_click_opens_its_conversation(page: Page) -> None:
    url = f"/chat/{uuid.uuid4()}"
    deliver(page, url)
    assert worker(page).evaluate(SHOWN) == [["Chat", "Your answer is ready.", "tag", url]]
    assert worker(page).evaluate(CLICK) == [[url], 0]


def test_a_conversation_in_view_needs_no_notification(page: Page) -> None:
    page.get_by_label("Message").fill("count to 3")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*")
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible(timeout=15_000)
    deliver(page, page.evaluate("location.pathname"))
    assert worker(page).evaluate(SHOWN) == []


def test_a_worker_that_lives_on_shows_every_message(page: Page) -> None:
    for _ in range(3):
        deliver(page, f"/chat/{uuid.uuid4()}")
    assert len(worker(page).evaluate(SHOWN)) == 1  # one tag: the last replaces the others
