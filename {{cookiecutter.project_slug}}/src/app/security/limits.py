"""Request limits by Flask-Limiter; which route has which limit stands in the access table."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from flask import Flask, request
from flask_limiter import Limiter
from flask_login import current_user


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


limiter = Limiter(client, strategy="sliding-window-counter", storage_uri="memory://", headers_enabled=True)


def init_app(app: Flask) -> None:
    limiter.init_app(app)
