"""What guards every route: CSRF tokens, response headers, limits, the access table; and whom to tell about holes."""

from datetime import timedelta

from flask import Blueprint, Flask, Response, url_for
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from app import config
from app.database import now
from app.security import access, bodies, headers, limits

csrf = CSRFProtect()
bp = Blueprint("security_txt", __name__)


@bp.get("/.well-known/security.txt")
def show() -> Response:
    """RFC 9116; it never expires, being written when asked."""
    contact = config.settings().security_contact or f"mailto:security@{config.project()['domain']}"
    expires = (now() + timedelta(days=180)).isoformat(timespec="seconds")
    canonical = url_for(".show", _external=True)
    text = f"Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\nCanonical: {canonical}\n"
    return Response(text, mimetype="text/plain")


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    secure = not settings.development
    app.config["SESSION_COOKIE_NAME"] = "__Host-session" if secure else "session"
    app.config.update(SESSION_COOKIE_SECURE=secure, SESSION_COOKIE_SAMESITE="Lax")
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # the token lives as long as the session: a chat stays open for days
    for part in (headers, bodies, csrf, limits, access):
        part.init_app(app)
    if hops := settings.proxy_hops:  # before what bodies.py asks of the Host
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.register_blueprint(bp)
