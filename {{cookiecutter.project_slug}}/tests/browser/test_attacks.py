"""Every payload in a real browser: nothing fires, fetches, posts or leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest
from flask import request
from markupsafe import Markup
from playwright.sync_api import Browser
from support import MakeApp
from test_markdown_attacks import ATTACKS
from werkzeug.serving import make_server

from app.security.access import PUBLIC, WRITES, Route, register
from app.security.markdown import render_markdown

PAGE = """<!doctype html><html><head><script type="importmap" nonce="{nonce}">{{"imports":{{}}}}</script></head>
<body><form id="composer" method="post" action="/kept"><input name="text"></form><main>{markup}</main></body></html>"""
TOUCH = """() => { for (const element of document.querySelectorAll('main *')) {
  for (const kind of ['mouseover', 'focus', 'toggle', 'beforetoggle', 'animationend', 'error', 'load', 'click'])
    if (kind !== 'click' || !element.closest('a, area')) element.dispatchEvent(new Event(kind, {bubbles: true}));
  if (element.matches('form')) element.requestSubmit();
  if (element.matches('button, input[type=submit], input[type=image]')) element.click();
} }"""
BROWSERS_OWN = "CONNECT content-autofill.googleapis.com"  # asked by Chromium itself for every page with a field


class Trap(ThreadingHTTPServer):
    """The rest of the internet: whatever a browser asks of it is written down."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.handler())
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        trap = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                trap.asked.append(self.rfile.readline().decode(errors="replace").strip())
                self.close_connection = True

        return Handler


class Attacked(NamedTuple):
    url: str
    asked: list[str]


@pytest.fixture
def serve(make_app: MakeApp) -> Iterator[Callable[..., Attacked]]:
    servers = []

    def start(render: Callable[[str], Markup]) -> Attacked:
        app, asked = make_app(), []

        def show(number: int) -> str:
            return PAGE.format(nonce=app.jinja_env.globals["csp_nonce"](), markup=render(ATTACKS[number]["markdown"]))

        app.add_url_rule("/attack/<int:number>", "attack", show)
        register(app, [Route("attack", "GET", PUBLIC, WRITES)])
        app.before_request(lambda: asked.append(f"{request.method} {request.full_path}"))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Attacked(f"http://127.0.0.1:{server.port}", asked)

    yield start
    for server in servers:
        server.shutdown()


def what_happened(browser: Browser, site: Attacked) -> dict[str, list[str]]:
    """What each payload made the browser do, by its id: requests to anywhere else, posts, dialogs, departures."""
    trap = Trap()
    proxy = {"server": f"http://127.0.0.1:{trap.server_port}", "bypass": "127.0.0.1"}
    happened: dict[str, list[str]] = {}
    context = browser.new_context(proxy=proxy)
    for number, attack in enumerate(ATTACKS):
        page = context.new_page()
        noted: list[str] = []
        page.on("dialog", lambda dialog, noted=noted: (noted.append(f"dialog {dialog.message}"), dialog.dismiss()))
        trap.asked.clear()
        site.asked.clear()
        page.goto(f"{site.url}/attack/{number}", wait_until="commit")
        page.wait_for_load_state("load")
        page.evaluate(TOUCH)
        page.wait_for_timeout(150)
        if not page.url.endswith(f"/attack/{number}"):
            noted.append(f"left for {page.url}")
        expected = (f"GET /attack/{number}?", "GET /favicon.ico?")
        elsewhere = [line for line in trap.asked if not line.startswith(BROWSERS_OWN)]
        noted += [*elsewhere, *(line for line in site.asked if line not in expected)]
        happened |= {attack["id"]: noted} if noted else {}
        page.close()
    context.close()
    trap.shutdown()
    return happened


def test_with_the_sanitiser_nothing_fires_fetches_posts_or_leaves(
    browser: Browser, serve: Callable[..., Attacked]
) -> None:
    assert what_happened(browser, serve(render_markdown)) == {}
