"""Static files under names that change with their content, compressed once, so that anyone may keep them for good.

Each process publishes what it has in DATA_DIR, where earlier releases have left theirs: while a new one is deployed,
whoever is asked serves the files of both. A CDN at ASSET_BASE_URL fetches them from here.
"""

import gzip
import hashlib
import json
import mimetypes
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Self

import brotli
from flask import Flask, abort, current_app, redirect, request, send_from_directory
from flask.typing import ResponseReturnValue

from app.config import Settings, settings
from app.security import headers

HASHED = re.compile(r"[\w./-]{1,200}\.[0-9a-f]{12}\.\w{1,20}", re.ASCII)  # shorter than any file system's limit
SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz", "identity": ""}  # the smallest first
COMPRESSED = (".css", ".js", ".json", ".svg", ".txt", ".webmanifest")


def _published(settings: Settings) -> Path:
    return settings.data_dir.absolute() / "static"


class Asset(NamedTuple):
    """A file of ``static/``: its published name, and its hash for Subresource Integrity."""

    name: str
    integrity: str


@lru_cache(maxsize=500)
def _named(path: Path, name: str, changed: float) -> Asset:
    digest = hashlib.sha384(path.read_bytes()).digest()
    stem, _, suffix = name.rpartition(".")
    return Asset(f"{stem}.{digest.hex()[:12]}.{suffix}", f"sha384-{b64encode(digest).decode()}")


def _codings(name: str) -> dict[str, Callable[[bytes], bytes]]:
    if not name.endswith(COMPRESSED):
        return {"identity": bytes}
    known = {"identity": bytes, "br": brotli.compress, "gzip": lambda content: gzip.compress(content, mtime=0)}
    try:
        return known | {"zstd": import_module("compression.zstd").compress}
    except ImportError:  # before Python 3.14
        return known


class Assets:
    """The static files of one application; in development they are looked at again every second."""

    def __init__(self, app: Flask):
        settings = app.extensions["settings"]
        self.folder, self.published = Path(app.static_folder or ""), _published(settings)
        self.base = f"{settings.asset_base_url.rstrip('/')}{app.static_url_path}"
        self.look_again = 1.0 if settings.development else float("inf")
        self.look()

    def look(self) -> Self:
        self.looked_at = time.monotonic()
        files = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        self.by_name = {name: _named(path, name, path.stat().st_mtime) for name, path in sorted(files.items())}
        urls = {name: f"{self.base}/{asset.name}" for name, asset in self.by_name.items() if name.startswith("js/")}
        imports = {name.replace("js/", "app/", 1): url for name, url in urls.items()}
        hashes = {url: self.by_name[name].integrity for name, url in urls.items()}
        self.import_map = {"imports": imports, "integrity": hashes}
        return self

    def publish(self) -> None:
        """Let every process serve these files, and whoever fills a CDN by hand; what is there stays."""
        for name, asset in self.by_name.items():
            content = (self.folder / name).read_bytes()
            for coding, compress in _codings(name).items():
                path = self.published / (asset.name + SUFFIXES[coding])
                if path.exists():
                    path.touch()
                else:
                    _write(path, compress(content))
        manifest = {name: asset.name for name, asset in self.by_name.items()}
        _write(self.published / "manifest.json", json.dumps(manifest).encode())

    @classmethod
    def current(cls) -> Self:
        assets: Self = current_app.extensions["assets"]
        return assets.look() if time.monotonic() - assets.looked_at > assets.look_again else assets


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


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


def forget(after: timedelta) -> int:
    """Delete what no process has published for so long; returns how many files."""
    files = (path for path in _published(settings()).rglob("*") if path.is_file())
    old = [path for path in files if path.stat().st_mtime < time.time() - after.total_seconds()]
    for path in old:
        path.unlink()
    return len(old)


def _serve(filename: str) -> ResponseReturnValue:
    assets = Assets.current()
    if filename in assets.by_name:
        return redirect(asset(filename))
    if not HASHED.fullmatch(filename):
        abort(404)
    if not (assets.published / filename).exists() and filename in {asset.name for asset in assets.by_name.values()}:
        assets.publish()  # in development, or in a process that gunicorn did not start
    accepted = [coding for coding in SUFFIXES if coding == "identity" or request.accept_encodings[coding]]
    there = (coding for coding in accepted if (assets.published / (filename + SUFFIXES[coding])).is_file())
    coding = next(there, "identity")
    response = send_from_directory(assets.published, filename + SUFFIXES[coding])
    response.mimetype = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    if coding != "identity":
        response.content_encoding = coding
    response.vary.add("Accept-Encoding")
    response.headers.update(headers.TABLE["static"])
    return response


def init_app(app: Flask) -> None:
    app.extensions["assets"] = Assets(app)
    app.view_functions["static"] = _serve
    app.jinja_env.globals.update(asset=asset, integrity=integrity, import_map=import_map)
