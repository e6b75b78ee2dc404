"""Response headers as data, each with the attack it stops. Flask-Talisman sends the policies, we add what it lacks."""

from __future__ import annotations

from flask import Flask, Response, request
from flask_talisman import Talisman

# Injected markup: no script without the nonce, no subresource from elsewhere, no form that leaves, no frame, no base.
CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "require-trusted-types-for": "'script'",  # DOM XSS: strings cannot become markup or code ...
    "trusted-types": "app",  # ... but through the one policy in static/js/trusted.js
}
# Abuse of powerful features by injected or framed content.
PERMISSIONS_POLICY = dict.fromkeys(
    "accelerometer camera geolocation gyroscope microphone payment usb browsing-topics".split(), "()"
)
OTHER_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # a window that opened us, or that we open, reaching in
    "Cross-Origin-Embedder-Policy": "require-corp",  # embedding what did not agree to be embedded (Spectre)
    "Cross-Origin-Resource-Policy": "same-origin",  # other sites embedding our responses
}
HSTS_SECONDS = 2 * 365 * 24 * 3600  # downgrade to http


def _complete(response: Response) -> Response:
    for name, value in OTHER_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        # A shared cache, or the back button after sign-out, showing one person's page to another.
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.add("Cookie")
    return response


def init_app(app: Flask) -> None:
    app.after_request(_complete)
    Talisman(
        app,
        force_https=False,  # the proxy redirects; behind it Talisman would believe any client's X-Forwarded-Proto
        session_cookie_secure=False,  # set in security/__init__.py; Talisman would change app.config during requests
        session_cookie_samesite="Lax",
        content_security_policy=CONTENT_SECURITY_POLICY,
        content_security_policy_nonce_in=["script-src"],
        frame_options="DENY",
        permissions_policy=PERMISSIONS_POLICY,
        referrer_policy="same-origin",  # keeps Flask-WTF's referrer check working, unlike no-referrer
        strict_transport_security=not app.extensions["settings"].development,
        strict_transport_security_max_age=HSTS_SECONDS,
    )
