"""Light, dark or as the device says: a choice of this browser, kept in a cookie so that the first paint is right."""

from __future__ import annotations

from flask import Response, current_app, request

SCHEMES = ("system", "light", "dark")
KEEP_SECONDS = 365 * 24 * 3600


def _cookie() -> str:
    return "__Host-scheme" if current_app.config["SESSION_COOKIE_SECURE"] else "scheme"


def chosen() -> str:
    """The colour scheme of this browser: one of ``SCHEMES``."""
    value = request.cookies.get(_cookie(), "")
    return value if value in SCHEMES else SCHEMES[0]


def choose(response: Response, scheme: str) -> None:
    """Let *response* set the colour scheme of this browser."""
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    response.set_cookie(_cookie(), scheme, KEEP_SECONDS, secure=secure, httponly=True, samesite="Lax")
