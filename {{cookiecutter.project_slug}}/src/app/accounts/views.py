"""The settings page; sessions, data export and deletion. What else it links to is Flask-Security's."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask, Response, abort, current_app, flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, logout_user
from flask_security import auth_required
from flask_wtf.csrf import generate_csrf

from app.accounts import own_data, sessions
from app.accounts.forms import DeletionForm
from app.observability import metrics, tracing

bp = Blueprint("accounts", __name__, url_prefix="/account")
SECTIONS = ("password", "two_factor", "email", "sessions", "own_data")
FRESH_MINUTES = 15


def add_section(app: Flask, template: str, context: Callable[[], dict[str, Any]] = dict) -> None:
    """Add ``templates/settings/<template>.html`` to the settings page, with the variables that *context* returns."""
    app.extensions["settings_sections"][template] = context


@bp.get("/settings")
def settings() -> ResponseReturnValue:
    sections = current_app.extensions["settings_sections"]
    ordered = sorted(sections, key=lambda name: name == "own_data")  # deleting everything comes last
    context = {name: value for fill in sections.values() for name, value in fill().items()}
    return render_template("settings.html", sections=[f"settings/{name}.html" for name in ordered], **context)


def _sessions() -> dict[str, Any]:
    return {"sessions": sessions.living(current_user.id), "current_id": g.session_id}


@bp.post("/sessions/<uuid:session_id>/end")
def end_session(session_id: UUID) -> ResponseReturnValue:
    if not sessions.end(current_user, session_id):
        abort(404)
    flash("That device is signed out.", "success")
    return redirect(url_for(".settings", _anchor="sessions"), 303)


@bp.post("/sessions/end-others")
def end_other_sessions() -> ResponseReturnValue:
    sessions.end_others(None, current_user)
    flash("All other devices are signed out.", "success")
    return redirect(url_for(".settings", _anchor="sessions"), 303)


@bp.get("/export")
@auth_required("session", within=FRESH_MINUTES, grace=FRESH_MINUTES)
def export() -> ResponseReturnValue:
    """Everything that is stored about the user, as a file."""
    tracing.note("export", user=current_user.id)
    metrics.add("app.exports", format="account")
    disposition = {"Content-Disposition": 'attachment; filename="my-data.json"'}
    return Response(own_data.export(current_user.id), mimetype="application/json", headers=disposition)


@bp.get("/delete")
@auth_required("session", within=FRESH_MINUTES, grace=FRESH_MINUTES)
def deletion() -> ResponseReturnValue:
    return render_template("accounts/delete.html", form=DeletionForm())


@bp.post("/delete")
@auth_required("session", within=FRESH_MINUTES, grace=FRESH_MINUTES)
def delete() -> ResponseReturnValue:
    form = DeletionForm()
    if not form.validate():
        return render_template("accounts/delete.html", form=form), 422
    own_data.delete_account(current_user._get_current_object())
    logout_user()
    flash("Your account and everything in it is deleted.", "success")
    return redirect("/", 303)


@bp.get("/csrf")
def csrf() -> ResponseReturnValue:
    """A fresh CSRF token for a page whose own has expired."""
    return {"token": generate_csrf()}


def init_app(app: Flask) -> None:
    app.extensions["settings_sections"] = dict.fromkeys(SECTIONS, dict) | {"sessions": _sessions}
    app.register_blueprint(bp)
