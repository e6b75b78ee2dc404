"""A user's signed-in devices."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import generate_csrf

from app.accounts import sessions as user_sessions

bp = Blueprint("accounts", __name__, url_prefix="/account")


@bp.get("/sessions")
def sessions() -> ResponseReturnValue:
    rows = user_sessions.living(current_user.id)
    return render_template("accounts/sessions.html", sessions=rows, current_id=g.session_id)


@bp.post("/sessions/<uuid:session_id>/end")
def end_session(session_id: UUID) -> ResponseReturnValue:
    if not user_sessions.end(current_user.id, session_id):
        abort(404)
    flash("That device is signed out.", "success")
    return redirect(url_for(".sessions"), 303)


@bp.get("/csrf")
def csrf() -> ResponseReturnValue:
    """A fresh CSRF token for a page whose own has expired."""
    return {"token": generate_csrf()}
