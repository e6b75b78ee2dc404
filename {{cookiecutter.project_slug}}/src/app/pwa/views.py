"""The routes of the installed app; what they send to everybody holds nothing of anybody."""

import hashlib
import re
from pathlib import Path
from uuid import UUID

from flask import Blueprint, Response, abort, current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app.assets import asset, import_map
from app.errors import Problem
from app.pwa import push
from app.security.bodies import query

bp = Blueprint("pwa", __name__)

STYLES = ("css/tokens.css", "css/components.css")
SCHEMES, KEEP_SCHEME = ("system", "light", "dark"), 365 * 24 * 3600  # seconds
ASK_EACH_TIME = {"Cache-Control": "no-cache"}


@bp.get("/manifest.webmanifest")
def manifest() -> ResponseReturnValue:
    """What the installed app is called and how it looks."""
    return Response(render_template("pwa/manifest.json"), mimetype="application/manifest+json", headers=ASK_EACH_TIME)


@bp.get("/service-worker.js")
def service_worker() -> ResponseReturnValue:
    """The worker, preceded by what it keeps for offline. Whatever of that changes makes it another version."""
    shell = [url_for(".offline"), *map(asset, STYLES), *import_map()["imports"].values(), asset("icons/icon-192.png")]
    code = Path(current_app.static_folder or "", "js/worker.js").read_text("utf-8")
    page = re.sub(r'nonce="[^"]+"', "", render_template("pwa/offline.html"))
    version = hashlib.sha256("\n".join([*shell, code, page]).encode()).hexdigest()[:12]
    dumps = current_app.json.dumps
    text = f"const VERSION = {dumps(version)};\nconst SHELL = {dumps(shell)};\n{code}"
    return Response(text, mimetype="text/javascript", headers=ASK_EACH_TIME)


@bp.get("/offline")
def offline() -> ResponseReturnValue:
    """The page the worker shows without a network; the browser's own storage fills it."""
    return render_template("pwa/offline.html")


def _scheme_cookie() -> str:
    return "__Host-scheme" if current_app.config["SESSION_COOKIE_SECURE"] else "scheme"


def colour_scheme() -> str:
    """One of ``SCHEMES``: a choice of this browser, in a cookie, so that the first paint is right."""
    value = request.cookies.get(_scheme_cookie(), "")
    return value if value in SCHEMES else SCHEMES[0]


@bp.post("/settings/appearance")
def set_appearance() -> ResponseReturnValue:
    scheme = request.form.get("scheme", "")
    if scheme not in SCHEMES:
        raise Problem(422, "invalid", "Choose one of the colour schemes.", errors={"scheme": ["unknown"]})
    response = current_app.make_response(redirect(url_for("accounts.settings", _anchor="appearance"), 303))
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    response.set_cookie(_scheme_cookie(), scheme, KEEP_SCHEME, secure=secure, httponly=True, samesite="Lax")
    return response


@bp.post("/push/subscription")
def subscribe() -> ResponseReturnValue:
    """Remember how this device can be told; an earlier subscription of it is replaced."""
    form = {name: value for name, value in request.form.items() if name != "csrf_token"}
    wanted = query(push.Subscription, form)
    push.subscribe(current_user, g.session_id, wanted)
    return "", 204


@bp.post("/push/<uuid:session_id>/remove")
def unsubscribe(session_id: UUID) -> ResponseReturnValue:
    """Tell a device of this user no more."""
    if not push.unsubscribe(current_user.id, session_id):
        abort(404)
    flash("That device gets no more notifications.", "success")
    return redirect(url_for("accounts.settings", _anchor="notifications"), 303)
