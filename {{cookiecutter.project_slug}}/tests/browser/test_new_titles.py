"""The title that the model makes of a first question reaches every open page, without a reload."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import ask, finished, sign_up
from live import LiveServer
from playwright.sync_api import BrowserContext, Page, Request, expect
from support import wait_until

NewContext = Callable[..., BrowserContext]
PROJECT = "Chat Assistant"
SOON = 30_000  # milliseconds; a page looks for the title every few seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("titles")
    shutil.copy(migrated, folder / "app.db")
    server = LiveServer(folder, application="naming_app:app", MODEL="openai-chat:naming", OPENAI_API_KEY="none")
    yield server.start()
    server.stop()


@pytest.fixture
def name(server: LiveServer) -> Iterator[Callable[[str], None]]:
    """Lets the model name what waits for a title."""
    path = server.folder / "title"

    def write(title: str) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.write_text(title, "utf-8")
        unfinished.replace(path)

    yield write
    path.unlink(missing_ok=True)


def begin(page: Page, question: str) -> None:
    page.get_by_label("Message").fill(question)
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/chat/*-*")
    expect(page.locator(".answer-body")).to_contain_text("You wrote")


def expect_title(page: Page, title: str, milliseconds: int = SOON) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(title, timeout=milliseconds)
    expect(page).to_have_title(f"{title} · {PROJECT}")
    expect(page.locator('#conversations [aria-current="page"]')).to_have_text(title)
    expect(page.locator("#new-title")).to_have_value(title)


def searches(page: Page) -> list[str]:
    """The requests for the list that the page sends from now on."""
    sent: list[str] = []

    def note(request: Request) -> None:
        if "/chat/search" in request.url:
            sent.append(request.url)

    page.on("request", note)
    return sent


def test_the_page_that_asked_shows_the_new_title(
    context: BrowserContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    page = sign_up(context, server.url)
    begin(page, "Why is the sky blue?")
    finished(page)
    expect_title(page, "Why is the sky blue?")
    name("Blue Skies")
    expect_title(page, "Blue Skies")
    page.reload()
    expect_title(page, "Blue Skies")


def test_another_device_that_watches_the_answer_shows_it_too(
    new_context: NewContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    context = new_context()
    page = sign_up(context, server.url)
    begin(page, "Tell me slowly about whales")
    other_device = new_context()
    other_device.add_cookies(context.cookies())
    other = other_device.new_page()
    other.goto(page.url)
    expect(other.get_by_role("button", name="Stop")).to_be_visible()
    name("Whales")
    for view in (page, other):
        expect_title(view, "Whales")
        expect(view.get_by_role("button", name="Stop")).to_be_visible()


def test_other_tabs_of_the_browser_refresh_their_list(
    context: BrowserContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    page = sign_up(context, server.url)
    begin(page, "What do owls eat?")
    tab = context.new_page()
    tab.goto(f"{server.url}/chat")
    expect(tab.locator("#conversations")).to_contain_text("What do owls eat?")
    name("Owls")
    expect_title(page, "Owls")
    expect(tab.locator("#conversations")).to_contain_text("Owls")
    expect(tab.locator("#conversations")).not_to_contain_text("What do owls eat?")
    expect(tab.get_by_role("heading", level=1)).to_have_text("New conversation")


def test_what_someone_types_or_searches_for_stays(
    context: BrowserContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    page = sign_up(context, server.url)
    begin(page, "How tall are giraffes?")
    page.get_by_label("Search conversations").fill("giraffes")
    expect(page.locator(".hit")).to_have_count(2)
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Title").fill("My own title")
    name("Giraffes")
    expect(page.get_by_role("heading", level=1)).to_have_text("Giraffes", timeout=SOON)
    expect(page.get_by_label("Title")).to_have_value("My own title")
    expect(page.locator(".hit")).to_have_count(2)
    page.get_by_label("Title").press("Enter")
    expect_title(page, "My own title")


def test_a_link_keeps_the_focus_when_its_title_changes(
    context: BrowserContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    page = sign_up(context, server.url)
    begin(page, "Where do storks go?")
    page.get_by_role("link", name="Where do storks go?").focus()
    name("Storks")
    expect(page.get_by_role("link", name="Storks")).to_be_focused(timeout=SOON)


def go_offline(page: Page) -> Callable[[], None]:
    page.context.set_offline(True)
    return lambda: page.context.set_offline(False)


def hide(page: Page) -> Callable[[], None]:
    """As if another tab were in front; headless browsers show all pages."""
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true}); 0")
    show = "delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))"
    return lambda: page.evaluate(show)


@pytest.mark.parametrize("leave", [go_offline, hide])
def test_a_page_does_not_look_for_a_title_while_it_is_hidden_or_offline(
    context: BrowserContext,
    server: LiveServer,
    name: Callable[[str], None],
    leave: Callable[[Page], Callable[[], None]],
) -> None:
    page = sign_up(context, server.url)
    page.clock.install()
    begin(page, "Why do cats purr?")
    finished(page)
    come_back = leave(page)
    sent = searches(page)
    name("Purring")
    for _ in range(3):
        page.clock.fast_forward(30_000)
    assert sent == []
    come_back()
    expect_title(page, "Purring")


def test_a_page_stops_looking_once_it_has_the_title(
    context: BrowserContext, server: LiveServer, name: Callable[[str], None]
) -> None:
    name("Bees")
    page = sign_up(context, server.url)
    page.clock.install()
    begin(page, "How do bees dance?")
    expect_title(page, "Bees")
    sent = searches(page)
    page.clock.fast_forward(30_000)
    page.reload()
    ask(page, "And ants?")
    finished(page)
    page.clock.fast_forward(30_000)
    page.wait_for_timeout(500)
    assert sent == []


def test_a_page_that_becomes_visible_again_refreshes_its_list_now_and_then(
    context: BrowserContext, server: LiveServer
) -> None:
    page = sign_up(context, server.url)
    page.clock.install()
    page.reload()
    sent = searches(page)
    other = context.new_page()
    other.goto(f"{server.url}/chat")
    begin(other, "Who painted this?")
    become_visible = "() => document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(become_visible)
    assert sent == []
    page.clock.fast_forward(11_000)
    page.evaluate(become_visible)
    expect(page.locator("#conversations")).to_contain_text("Who painted this?")
    page.evaluate(become_visible)
    assert len(sent) == 1
    page.clock.fast_forward(11_000)
    page.evaluate(become_visible)
    wait_until(lambda: len(sent) == 2)
