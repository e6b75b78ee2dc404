"""The response headers of ``headers.toml``, on every response. Flask-Talisman adds the nonce to the policy."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from flask_talisman import Talisman

FROM_CDN = ("script-src", "style-src", "img-src", "font-src", "connect-src")  # the last for the service worker


@cache
def table() -> dict[str, dict[str, Any]]:
    """``headers.toml``: the two policies by directive, and the other headers by name."""
    return tomllib.loads(Path(__file__).with_name("headers.toml").read_text("utf-8"))


def _complete(response: Response) -> Response:
    for name, value in table()["others"].items():
        if name != "Strict-Transport-Security" or request.is_secure:
            response.headers.setdefault(name, value)
    if request.endpoint != "static":
        # A shared cache, or the back button after sign-out, showing one person's page to another.
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.add("Cookie")
    return response


def init_app(app: Flask) -> None:
    policy = dict(table()["content-security-policy"])
    if base := app.extensions["settings"].asset_base_url:
        policy |= {name: f"{policy[name]} {'/'.join(base.split('/')[:3])}" for name in FROM_CDN}
    app.after_request(_complete)
    policies: dict[str, Any] = {"content_security_policy": policy, "permissions_policy": table()["permissions-policy"]}
    policies |= {"referrer_policy": table()["others"]["Referrer-Policy"]} | table()["talisman"]
    Talisman(app, content_security_policy_nonce_in=["script-src"], **policies)
