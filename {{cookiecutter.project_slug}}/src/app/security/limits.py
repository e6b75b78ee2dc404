"""Request limits by Flask-Limiter; which route has which limit stands in the access table."""

from __future__ import annotations

import math
import time
from ipaddress import IPv6Address, ip_address

from flask import Flask, Response, request
from flask_limiter import Limiter, RequestLimit
from flask_login import current_user

from app.errors import Problem, answer


def client() -> str:
    """The user when signed in, else the address; IPv6 by /64, since one customer owns that many addresses."""
    if current_user.is_authenticated:
        return f"user:{current_user.id}"
    return f"address:{client_network(request.remote_addr or '')}"


def client_network(address: str) -> str:
    """*address* itself, or the /64 network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


def _refuse(limit: RequestLimit) -> Response:
    seconds = max(1, math.ceil(limit.reset_at - time.time()))
    return answer(Problem(429, "rate-limited", f"Too many requests; please wait {seconds} seconds.", seconds))


limiter = Limiter(client, strategy="sliding-window-counter", storage_uri="memory://", on_breach=_refuse)


def init_app(app: Flask) -> None:
    limiter.init_app(app)
