"""Manifest, worker, offline page, colours: what an installed app needs, holding nothing of anybody."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader
from PIL import Image
from support import PAGE, MakeApp, Visitor

from app import config
from app.pwa import views

pytestmark = pytest.mark.one_engine


def test_the_manifest_makes_the_app_installable(app: Flask) -> None:
    stranger = Visitor(app)
    (link,) = re.findall(r'rel="manifest" href="([^"]+)"', stranger.get("/").text)
    response = stranger.get(link)
    assert response.mimetype == "application/manifest+json"
    manifest = json.loads(response.text)
    assert manifest["name"] == config.project()["name"]
    assert (manifest["id"], manifest["scope"], manifest["start_url"]) == ("/", "/", "/chat")
    assert manifest["display"] == "standalone"
    assert {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]} == {
        ("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")
    }  # fmt: skip
    assert {shot["form_factor"] for shot in manifest["screenshots"]} == {"narrow", "wide"}
    for picture in manifest["icons"] + manifest["screenshots"]:
        image = Image.open(io.BytesIO(stranger.get(picture["src"]).data))
        assert f"{image.width}x{image.height}" == picture["sizes"]
        assert image.get_format_mimetype() == picture["type"]
    assert manifest["theme_color"]
    for shortcut in manifest["shortcuts"]:
        assert stranger.get(shortcut["url"]).status_code == 302


def worker(visitor: Visitor) -> tuple[str, list[str]]:
    """Version and kept addresses of the service worker."""
    response = visitor.get("/service-worker.js")
    assert response.mimetype == "text/javascript"
    assert response.headers["Cache-Control"] == "no-cache"
    version, shell = (json.loads(line.partition(" = ")[2].rstrip(";")) for line in response.text.split("\n")[:2])
    return version, shell


def test_the_worker_keeps_public_things_only(app: Flask, ada: Visitor) -> None:
    stranger = Visitor(app)
    version, shell = worker(ada)
    assert worker(stranger) == (version, shell)
    assert {"/offline"} < set(shell)
    for url in shell:
        response = stranger.get(url)
        assert response.status_code == 200, url
        assert "Set-Cookie" not in response.headers
        assert without_nonce(response.data) == without_nonce(ada.get(url).data)


def without_nonce(data: bytes) -> bytes:
    return re.sub(rb'nonce="[^"]+"', b"", data)


def test_the_version_changes_with_what_is_kept(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(app)
    version, _ = worker(visitor)
    assert worker(visitor)[0] == version
    loader: Any = app.jinja_env.loader
    text = loader.get_source(app.jinja_env, "pwa/offline.html")[0]
    monkeypatch.setattr(
        app.jinja_env,
        "loader",
        ChoiceLoader([DictLoader({"pwa/offline.html": text.replace("Try again", "Once more")}), loader]),
    )
    app.jinja_env.cache.clear()
    assert worker(visitor)[0] != version


@pytest.mark.parametrize("scheme", ["light", "dark", "system"])
def test_the_chosen_colours_are_in_every_page(ada: Visitor, scheme: str) -> None:
    assert 'data-scheme="system"' in ada.get("/chat").text
    answer = ada.post("/settings/appearance", PAGE, scheme=scheme)
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    for url in ("/", "/chat", "/nothing-here"):
        assert f'data-scheme="{scheme}"' in ada.get(url).text


def test_the_cookie_of_the_colours_is_secure_in_production(make_app: MakeApp) -> None:
    app = make_app(app_env="production")
    with app.test_request_context(
        "/settings/appearance", base_url="https://localhost", method="POST", data={"scheme": "dark"}
    ):
        response = views.set_appearance()
    name, *attributes = response.headers["Set-Cookie"].split("; ")
    assert name == "__Host-scheme=dark"
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes)


def test_an_unknown_scheme_is_refused_and_a_forged_cookie_ignored(ada: Visitor) -> None:
    assert ada.post("/settings/appearance", scheme='"><script>').status_code == 422
    ada.client.set_cookie("scheme", '"><script>')
    assert 'data-scheme="system"' in ada.get("/chat").text
