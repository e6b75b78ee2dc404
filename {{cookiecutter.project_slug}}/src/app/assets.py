"""Addresses of static files that change with their content, so that browsers may keep them for good."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, current_app, request, url_for

MODULES = "js/*.js"


@lru_cache
def _digest(path: Path, changed: float) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """The address of a file in ``static/``."""
    path = Path(current_app.static_folder or "") / name
    return url_for("static", filename=name, v=_digest(path, path.stat().st_mtime))


def import_map() -> dict[str, dict[str, str]]:
    """Maps ``app/NAME.js``, as ES modules import one another, to addresses."""
    folder = Path(current_app.static_folder or "")
    return {"imports": {f"app/{path.name}": asset(f"js/{path.name}") for path in sorted(folder.glob(MODULES))}}


def _keep(response: Response) -> Response:
    if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def init_app(app: Flask) -> None:
    app.after_request(_keep)
    app.jinja_env.globals.update(asset=asset, import_map=import_map)
