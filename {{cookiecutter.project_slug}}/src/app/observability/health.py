"""``/livez`` says that the process runs; ``/readyz`` that it should get traffic. Upper rooms register their checks."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue

bp = Blueprint("health", __name__)


def readiness_checks() -> dict[str, Callable[[], str]]:
    """Checks by name; each returns "ok", "degraded: why" or "failed: why". Only the last kind takes traffic away."""
    checks: dict[str, Callable[[], str]] = current_app.extensions["readiness"]
    return checks


@bp.get("/livez")
def livez() -> ResponseReturnValue:
    return {"status": "ok"}


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    results = {name: check() for name, check in readiness_checks().items()}
    failed = any(result.startswith("failed") for result in results.values())
    return jsonify(status="failed" if failed else "ok", checks=results), 503 if failed else 200


def init_app(app: Flask) -> None:
    app.extensions["readiness"] = {}
    app.register_blueprint(bp)
