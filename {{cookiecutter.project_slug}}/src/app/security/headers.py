"""The response headers of ``headers.toml``, on every response. Flask-Talisman adds the nonce to the policy."""

from typing import Any

from flask import Flask, Response, request
from flask_talisman import Talisman

from app.config import read_table

# The two policies by directive, and the other headers by name.
TABLE = read_table(__file__, "headers.toml")
FROM_CDN = ("style-src", "img-src", "font-src", "connect-src")  # the last for the service worker


def _complete(response: Response) -> Response:
    for name, value in TABLE["others"].items():
        if name != "Strict-Transport-Security" or request.is_secure:
            response.headers.setdefault(name, value)
    if request.endpoint != "static":
        # A shared cache, or the back button after sign-out, showing one person's page to another.
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.add("Cookie")
    return response


def init_app(app: Flask) -> None:
    policy = dict(TABLE["content-security-policy"])
    if base := app.extensions["settings"].asset_base_url:
        policy |= {name: f"{policy[name]} {'/'.join(base.split('/')[:3])}" for name in FROM_CDN}
    app.after_request(_complete)
    policies: dict[str, Any] = {"content_security_policy": policy, "permissions_policy": TABLE["permissions-policy"]}
    policies |= {"referrer_policy": TABLE["others"]["Referrer-Policy"]} | TABLE["talisman"]
    Talisman(app, content_security_policy_nonce_in=["script-src"], **policies)
