"""Static files: names that change with the content, compressed once, checked by the browser, from here or a CDN."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path

import brotli
import pytest
from flask import Flask
from support import MakeApp, Visitor

from app import assets

pytestmark = pytest.mark.one_engine

PUBLISHED = r"/static/[\w/.-]+\.[0-9a-f]{12}\.\w+"


def _import_map(page: str) -> dict[str, dict[str, str]]:
    found = re.search(r'<script type="importmap"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_every_file_a_page_names_is_there_for_good_and_for_every_origin(ada: Visitor) -> None:
    urls = set(re.findall(rf'"({PUBLISHED})"', ada.get("/chat").text))
    assert len(urls) > 6
    for url in urls:
        response = ada.get(url)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_plain_name_leads_to_the_present_file_and_is_not_kept(app: Flask, ada: Visitor) -> None:
    response = ada.get("/static/css/tokens.css")
    assert response.status_code == 302
    assert re.fullmatch(PUBLISHED, response.location)
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "max-age" not in response.headers.get("Cache-Control", "")
    first = ada.get(response.location)
    assert ada.get(response.location, {"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_the_browser_is_told_the_hash_of_every_module_and_style_sheet(app: Flask, ada: Visitor) -> None:
    page = ada.get("/chat").text
    hashes = _import_map(page)["integrity"]
    assert set(hashes) == set(_import_map(page)["imports"].values())
    hashes |= dict(re.findall(r'rel="stylesheet" href="([^"]+)" integrity="([^"]+)"', page))
    assert len(re.findall('rel="stylesheet"', page)) == len([url for url in hashes if url.endswith(".css")])
    for url, value in hashes.items():
        digest = hashlib.sha384(ada.get(url).data).digest()
        assert value == f"sha384-{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("", None), ("br;q=0, gzip", "gzip")]
)
def test_files_are_sent_as_small_as_the_browser_can_read_them(ada: Visitor, accepted: str, coding: str | None) -> None:
    (url,) = re.findall(rf'"({PUBLISHED})" integrity', ada.get("/chat").text)[:1]
    plain = ada.get(url).data
    response = ada.get(url, {"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == coding
    assert "Accept-Encoding" in response.headers["Vary"]
    unpack = {"br": brotli.decompress, "gzip": gzip.decompress}.get(coding or "", bytes)
    assert unpack(response.data) == plain
    assert len(response.data) < len(plain) or coding is None


def test_a_file_that_changes_gets_another_name(app: Flask, tmp_path: Path) -> None:
    folder = tmp_path / "changing" / "static"
    folder.mkdir(parents=True)
    (folder / "page.css").write_text("a {}")
    app.static_folder = str(folder)
    with app.app_context():
        app.extensions["assets"] = assets.Assets(app)
        before = assets.asset("page.css")
        (folder / "page.css").write_text("b {}")
        app.extensions["assets"].look()
        assert assets.asset("page.css") != before


def test_during_a_deployment_any_process_serves_the_files_of_both_releases(make_app: MakeApp, tmp_path: Path) -> None:
    other = make_app()
    folder = tmp_path / "other release" / "static"
    folder.mkdir(parents=True)
    (folder / "new.js").write_text("export const version = 2;\n" * 9)
    other.static_folder = str(folder)
    other.extensions["assets"] = assets.Assets(other)
    other.extensions["assets"].publish()
    with other.app_context():
        url = assets.asset("new.js")
    this = Visitor(make_app())
    response = this.get(url, {"Accept-Encoding": "br"})
    assert brotli.decompress(response.data) == (folder / "new.js").read_bytes()
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in response.headers["Cache-Control"]
    assert this.get(url).data == (folder / "new.js").read_bytes()
    assert this.get(url.replace("new", "old")).status_code == 404
    with this.app.app_context():
        assert assets.forget(timedelta(days=1)) == 0
        assert assets.forget(timedelta(days=-1)) > 0
    assert this.get(url).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["../app.db", "..%2fapp.db", "js/%2e%2e/%2e%2e/app.0123456789ab.db", "manifest.json"]
    + [f"{'x' * 300}.0123456789ab.js", f"{'%C5%81' * 150}.0123456789ab.js"],
)
def test_nothing_else_of_the_data_folder_is_served(app: Flask, ada: Visitor, name: str) -> None:
    app.extensions["assets"].publish()
    assert ada.get(f"/static/{name}").status_code == 404


def test_a_cdn_is_named_by_pages_import_map_and_policy(make_app: MakeApp) -> None:
    page = Visitor(make_app(asset_base_url="https://cdn.example.net/site/")).get("/login")
    names = [*_import_map(page.text)["imports"].values(), *re.findall(r'(?:href|src)="([^"]*static[^"]*)"', page.text)]
    assert len(names) > 6
    assert all(re.fullmatch(f"https://cdn.example.net/site{PUBLISHED}", url) for url in names)
    policy = page.headers["Content-Security-Policy"]
    for directive in ("style-src", "img-src", "font-src", "connect-src"):
        assert re.search(rf"{directive} 'self' https://cdn\.example\.net[ ;]", policy)
    for directive in ("form-action 'self';", "worker-src 'self';", "base-uri 'none'"):
        assert directive in policy


def test_all_files_are_published_with_a_manifest(app: Flask, tmp_path: Path) -> None:
    app.extensions["assets"].publish()
    manifest = json.loads((tmp_path / "static" / "manifest.json").read_text())
    assert all((tmp_path / "static" / published).is_file() for published in manifest.values())
    assert all((tmp_path / "static" / f"{manifest['js/chat.js']}{suffix}").is_file() for suffix in (".br", ".gz"))
