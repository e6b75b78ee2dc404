"""Response headers as data, each with the attack it stops. Flask-Talisman sends the policies, we add what it lacks."""

from __future__ import annotations

from flask import Flask, Response, request
from flask_talisman import Talisman

# Injected markup: no script without the nonce, no subresource from elsewhere, no form that leaves, no frame, no base.
CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",  # whatever is not named below: frames, media, prefetches
    "script-src": "'self'",  # injected scripts; the nonce of the import map is added
    "style-src": "'self'",  # injected styles that hide, overlay or read a page
    "img-src": "'self'",  # an image whose address carries away what the model knows
    "font-src": "'self'",  # as images
    "connect-src": "'self'",  # a script that sends data elsewhere
    "manifest-src": "'self'",  # an app that looks like ours and is not
    "worker-src": "'self'",  # a service worker that stays
    "form-action": "'self'",  # a form that posts a password elsewhere
    "base-uri": "'none'",  # relative addresses that lead elsewhere
    "frame-ancestors": "'none'",  # clickjacking
    "object-src": "'none'",  # plug-ins
    "require-trusted-types-for": "'script'",  # DOM XSS: strings cannot become markup or code ...
    "trusted-types": "app",  # ... but through the one policy in static/js/trusted.js
}
# Abuse of powerful features by injected or framed content.
PERMISSIONS_POLICY = dict.fromkeys(
    "accelerometer camera display-capture geolocation gyroscope microphone payment usb browsing-topics".split(), "()"
)
OTHER_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # a window that opened us, or that we open, reaching in
    "Cross-Origin-Embedder-Policy": "require-corp",  # embedding what did not agree to be embedded (Spectre)
    "Cross-Origin-Resource-Policy": "same-origin",  # other sites embedding our responses
    "Origin-Agent-Cluster": "?1",  # sharing a process with a sibling of our domain
    "X-Permitted-Cross-Domain-Policies": "none",  # old plug-ins reading across sites
}
HSTS = f"max-age={2 * 365 * 24 * 3600}; includeSubDomains"  # a downgrade to http


def _complete(response: Response) -> Response:
    for name, value in OTHER_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = HSTS
    if request.endpoint != "static":
        # A shared cache, or the back button after sign-out, showing one person's page to another.
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.add("Cookie")
    return response


FROM_CDN = ("script-src", "style-src", "img-src", "font-src", "connect-src")  # the last for the service worker


def init_app(app: Flask) -> None:
    policy = dict(CONTENT_SECURITY_POLICY)
    if base := app.extensions["settings"].asset_base_url:
        policy |= {name: f"{policy[name]} {'/'.join(base.split('/')[:3])}" for name in FROM_CDN}
    app.after_request(_complete)
    Talisman(
        app,
        force_https=False,  # the proxy redirects; behind it Talisman would believe any client's X-Forwarded-Proto
        session_cookie_secure=False,  # set in security/__init__.py; Talisman would change app.config during requests
        session_cookie_samesite="Lax",
        content_security_policy=policy,
        content_security_policy_nonce_in=["script-src"],
        frame_options="DENY",  # clickjacking, in browsers without frame-ancestors
        permissions_policy=PERMISSIONS_POLICY,
        referrer_policy="same-origin",  # addresses leaking; no-referrer would break Flask-WTF's referrer check
        strict_transport_security=False,  # Talisman would believe any client's X-Forwarded-Proto; see above
    )
