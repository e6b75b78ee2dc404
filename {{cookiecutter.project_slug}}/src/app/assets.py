"""Static files under names that change with their content, compressed once, so that anyone may keep them for good.

Each process publishes what it has in DATA_DIR, where earlier releases have left theirs: while a new one is deployed,
whoever is asked serves the files of both. A CDN at ASSET_BASE_URL fetches them from here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import mimetypes
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import brotli
from flask import Flask, abort, current_app, request, send_from_directory
from flask.typing import ResponseReturnValue

from app.config import current as settings

logger = logging.getLogger(__name__)
HASHED = re.compile(r".+\.[0-9a-f]{12}\.\w+")
SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz", "identity": ""}  # the smallest first
COMPRESSED = (".css", ".js", ".json", ".svg", ".txt", ".webmanifest")
FOR_GOOD = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Access-Control-Allow-Origin": "*",  # pages that get these from a CDN, and check their hashes
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def _codings() -> dict[str, Callable[[bytes], bytes]]:
    known = {"br": brotli.compress, "gzip": lambda content: gzip.compress(content, mtime=0)}
    try:
        return known | {"zstd": import_module("compression.zstd").compress}
    except ImportError:  # before Python 3.14
        return known


@dataclass(frozen=True)
class Asset:
    """A file of ``static/``: its published name, its hash for Subresource Integrity, its content by coding."""

    name: str
    integrity: str
    content: dict[str, bytes]


@lru_cache(maxsize=500)
def _read(path: Path, name: str, changed: float) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha384(content).digest()
    codings = _codings() if name.endswith(COMPRESSED) else {}
    stem, _, suffix = name.rpartition(".")
    return Asset(
        f"{stem}.{digest.hex()[:12]}.{suffix}",
        f"sha384-{b64encode(digest).decode()}",
        {coding: compress(content) for coding, compress in codings.items()} | {"identity": content},
    )


class Assets:
    """The static files of one application; in development they are looked at again every second."""

    def __init__(self, app: Flask):
        settings = app.extensions["settings"]
        self.folder = Path(app.static_folder or "")
        self.base = f"{settings.asset_base_url.rstrip('/')}{app.static_url_path}"
        self.look_again = 1.0 if settings.development else float("inf")
        self.look()

    def look(self) -> Assets:
        self.looked_at = time.monotonic()
        files = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        self.by_name = {name: _read(path, name, path.stat().st_mtime) for name, path in sorted(files.items())}
        self.by_published = {asset.name: asset for asset in self.by_name.values()}
        urls = {name: f"{self.base}/{asset.name}" for name, asset in self.by_name.items() if name.startswith("js/")}
        self.import_map = {
            "imports": {name.replace("js/", "app/", 1): url for name, url in urls.items()},
            "integrity": {url: self.by_name[name].integrity for name, url in urls.items()},
        }
        return self

    @classmethod
    def current(cls) -> Assets:
        assets: Assets = current_app.extensions["assets"]
        return assets.look() if time.monotonic() - assets.looked_at > assets.look_again else assets


def asset(name: str) -> str:
    """The address of a file in ``static/``."""
    assets = Assets.current()
    return f"{assets.base}/{assets.by_name[name].name}"


def integrity(name: str) -> str:
    """The hash that a browser compares the file with, wherever it got it."""
    return Assets.current().by_name[name].integrity


def import_map() -> dict[str, dict[str, str]]:
    """Maps ``app/NAME.js``, as ES modules import one another, to addresses, and these to hashes."""
    return Assets.current().import_map


def _published() -> Path:
    return settings().data_dir.absolute() / "static"


def publish(app: Flask) -> None:
    """Let processes of other releases serve these files, and whoever fills a CDN by hand; what is there stays."""
    with app.app_context():
        folder, known = _published(), Assets.current().by_name
    files = {asset.name + SUFFIXES[c]: data for asset in known.values() for c, data in asset.content.items()}
    files["manifest.json"] = json.dumps({name: asset.name for name, asset in known.items()}).encode()
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            unfinished.write_bytes(data)
            unfinished.replace(path)
    except OSError as error:
        logger.warning("static files could not be published in DATA_DIR: %s", error)


def forget(after: timedelta) -> int:
    """Delete what no process has published for so long; returns how many files."""
    limit = time.time() - after.total_seconds()
    old = [path for path in _published().rglob("*") if path.is_file() and path.stat().st_mtime < limit]
    for path in old:
        path.unlink()
    return len(old)


def _serve(filename: str) -> ResponseReturnValue:
    assets = Assets.current()
    asset = assets.by_published.get(filename) or assets.by_name.get(filename)
    accepted = [coding for coding in SUFFIXES if coding == "identity" or request.accept_encodings[coding]]
    if asset:
        coding = next(coding for coding in accepted if coding in asset.content)
        response = current_app.response_class(asset.content[coding])
        response.set_etag(f"{asset.name}.{coding}")
    elif HASHED.fullmatch(filename):
        there = (coding for coding in accepted if (_published() / (filename + SUFFIXES[coding])).is_file())
        coding = next(there, "identity")
        response = send_from_directory(_published(), filename + SUFFIXES[coding])
    else:
        abort(404)
    response.mimetype = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    if coding != "identity":
        response.content_encoding = coding
    response.vary.add("Accept-Encoding")
    for_good = asset is None or filename == asset.name
    response.headers.update(FOR_GOOD if for_good else {"Cache-Control": "no-cache"})
    response.make_conditional(request)
    return response


def init_app(app: Flask) -> None:
    app.extensions["assets"] = Assets(app)
    app.view_functions["static"] = _serve
    app.jinja_env.globals.update(asset=asset, integrity=integrity, import_map=import_map)
