"""``/livez`` says that the process runs; ``/readyz`` that it should get traffic. Upper rooms register their checks."""

from click import get_current_context
from flask import Blueprint, Flask, Response, current_app, jsonify

from app.observability import metrics

bp = Blueprint("health", __name__)
bp.add_url_rule("/livez", "livez", lambda: {"status": "ok"})
VALUES = {"ok": 1.0, "degraded": 0.5, "failed": 0.0}


def _results() -> dict[str, str]:
    """What each check says: "ok", "degraded: why" or "failed: why". Only the last kind takes traffic away."""
    return {name: check() for name, check in current_app.extensions["readiness"].items()}


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    results = _results()
    status = min((said.partition(":")[0] for said in results.values()), key=VALUES.__getitem__, default="ok")
    return jsonify(status=status, checks=results), 503 if status == "failed" else 200


def _values(app: Flask) -> list[tuple[float, dict[str, str]]]:
    with app.app_context():
        return [(VALUES[said.partition(":")[0]], {"check": name}) for name, said in _results().items()]


def init_app(app: Flask) -> None:
    app.extensions["readiness"] = {}
    if get_current_context(silent=True) is None:  # a command gets no traffic, and its settings may be on trial
        metrics.watch("app.ready", lambda: _values(app))
    app.register_blueprint(bp)
