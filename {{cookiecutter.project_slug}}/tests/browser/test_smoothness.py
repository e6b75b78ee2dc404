"""Nothing jumps while a long answer arrives, and a long conversation stays light. Times are figures, kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from browsing import finished, sign_up
from live import LiveServer
from looks import note
from playwright.sync_api import BrowserContext, Page, expect

from app.database import new_id

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput) window.shifts.push([entry.value, ...entry.sources.map((s) => s.node?.className)]);
}).observe({ type: "layout-shift", buffered: true });
"""
DELAYS = """
window.delays = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (entry.name.startsWith("key")) window.delays.push(entry.processingStart - entry.startTime);
}).observe({ type: "event", buffered: true, durationThreshold: 16 });
"""
MESSAGES = 2000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("smooth")
    shutil.copy(migrated, folder / "app.db")
    server = LiveServer(folder, application="scripted_app:app")
    yield server.start()
    server.stop()


def send(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def test_nothing_shifts_while_five_thousand_words_arrive(context: BrowserContext, server: LiveServer) -> None:
    context.add_init_script(SHIFTS)
    page = sign_up(context, server.url)
    send(page, "Hello")
    finished(page)
    page.wait_for_timeout(600)  # what follows a click within half a second is not counted
    page.evaluate("window.shifts.length = 0")
    send(page, "Write a book")
    expect(page.locator(".answer[aria-busy]")).to_have_count(1)
    finished(page, 120)
    words = len(page.locator(".answer-body").last.inner_text().split())
    shifts = page.evaluate("window.shifts")
    note(f"CLS {sum(shift[0] for shift in shifts):.4f} over {words} words")
    assert words > 5000
    assert shifts == []


def test_typing_in_a_conversation_of_two_thousand_messages_is_not_delayed(
    context: BrowserContext, server: LiveServer
) -> None:
    context.add_init_script(DELAYS)
    page = sign_up(context, server.url)
    send(page, "Hello")
    finished(page)
    lengthen(server.folder / "app.db", UUID(page.url.rsplit("/", 1)[1]))
    page.reload()
    expect(page.locator(".message")).to_have_count(50)
    type_and_note(page, "with the newest 50 shown")
    for count in range(100, 500, 50):
        page.get_by_role("link", name="Show earlier messages").click()
        expect(page.locator(".message")).to_have_count(count)
    type_and_note(page, "with 450 shown")


def type_and_note(page: Page, when: str) -> None:
    page.evaluate("window.delays.length = 0")
    page.get_by_label("Message", exact=True).fill("")
    page.get_by_label("Message", exact=True).press_sequentially(
        "The quick brown fox jumps over the lazy dog. " * 3, delay=20
    )
    page.wait_for_timeout(300)
    delays = page.evaluate("window.delays")
    note(f"input delay {when}: {len(delays)} slow events, longest {max(delays, default=0):.0f} ms")
    assert max(delays, default=0) < 1000  # a loose bound: the machine may be busy


def lengthen(database: Path, conversation: UUID) -> None:
    """Add turns of realistic length to a conversation until it has so many messages."""
    text = "Some **words** of an answer.\n\n- one\n- two\n\n```python\nx = 1\n```\n\n" + "More words follow here. " * 30
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        find = "SELECT user_id, head_id FROM conversations WHERE id = ?"
        user, parent = connection.execute(find, [conversation.hex]).fetchone()
        insert = (
            "INSERT INTO messages (id, conversation_id, user_id, parent_id, role, text, event_number, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, 0, ?)"
        )
        for number in range(MESSAGES - 2):
            row, role = new_id().hex, ("user", "assistant")[number % 2]
            at = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
            connection.execute(insert, [row, conversation.hex, user, parent, role, text if number % 2 else "And?", at])
            parent = row
        connection.execute("UPDATE conversations SET head_id = ? WHERE id = ?", [parent, conversation.hex])
