"""``/livez`` says that the process runs; ``/readyz`` that it should get traffic. Upper rooms register their checks."""

from collections.abc import Callable

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue

from app.observability import metrics

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
    degraded = any(result.startswith("degraded") for result in results.values())
    status = "failed" if failed else "degraded" if degraded else "ok"
    return jsonify(status=status, checks=results), 503 if failed else 200


VALUES = {"ok": 1.0, "degraded": 0.5, "failed": 0.0}


def _values(app: Flask) -> list[tuple[float, dict[str, str]]]:
    with app.app_context():
        results = {name: check().partition(":")[0] for name, check in readiness_checks().items()}
    return [(VALUES[result], {"check": name}) for name, result in results.items()]


def init_app(app: Flask) -> None:
    app.extensions["readiness"] = {}
    metrics.watch("app.ready", lambda: _values(app))
    app.register_blueprint(bp)
