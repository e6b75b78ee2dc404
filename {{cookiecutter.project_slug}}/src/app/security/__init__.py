"""What guards every route: CSRF tokens, response headers, limits and the access table."""

from flask import Flask
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from app.security import access, bodies, headers, limits, security_txt

csrf = CSRFProtect()


def init_app(app: Flask) -> None:
    settings = app.extensions["settings"]
    if hops := settings.proxy_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    secure = not settings.development
    app.config["SESSION_COOKIE_NAME"] = "__Host-session" if secure else "session"
    app.config.update(SESSION_COOKIE_SECURE=secure, SESSION_COOKIE_SAMESITE="Lax")
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # the token lives as long as the session: a chat stays open for days
    headers.init_app(app)
    bodies.init_app(app)
    csrf.init_app(app)
    limits.init_app(app)
    access.init_app(app)
    app.register_blueprint(security_txt.bp)
