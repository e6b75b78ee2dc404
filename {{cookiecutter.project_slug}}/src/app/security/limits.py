"""Request limits by Flask-Limiter; which route has which limit stands in the access table.

A client is the user when signed in, else the address. Routes that test a password, a code or an address are limited
per account as well, however many addresses the attempts come from; growing windows make an attacker back off. An owner
is not locked out by an attacker: a browser that has signed in before, or has followed a reset link, counts by itself.
"""

import hashlib
import math
import secrets
import time
from ipaddress import IPv6Address, ip_address
from typing import Any

from flask import Flask, Response, current_app, request, session
from flask_limiter import Limiter, RequestLimit
from flask_login import current_user

from app.errors import Problem, answer

REDIS_TIMEOUTS: Any = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}  # seconds
# Registered with IANA by the RateLimit fields' draft (draft-ietf-httpapi-ratelimit-headers).
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
SECOND_FACTOR = ("security.two_factor_token_validation", "security.mf_recovery")


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


def _name(email: str) -> str:
    """A key for an account that need not exist: however the address is written, and without telling it."""
    try:
        email = current_app.extensions["security"]._mail_util.normalize(email)
    except ValueError:  # not an address; it is counted as it stands
        email = email.strip()
    return hashlib.sha256(email.casefold().encode()).hexdigest()[:32]


def account() -> str:
    """The account that is being tried: the one a form names, or the one whose second factor is asked for."""
    if request.endpoint in SECOND_FACTOR:
        return f"account:{session.get('tf_user_id')}"
    name = _name(request.form.get("email", ""))
    device = session.get("device", {}).get(name)
    return f"device:{device}" if device else f"account:{name}"


def know_device(email: str) -> None:
    """Count this browser's further attempts at an account by themselves: its owner has just proved who they are."""
    session["device"] = {_name(email): secrets.token_urlsafe(16)}


def _refuse(limit: RequestLimit) -> Response:
    request.environ.pop("answer_at", None)  # a flood of refused attempts may not hold the threads
    seconds = max(1, math.ceil(limit.reset_at - time.time()))
    span = f"{seconds} seconds" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"
    detail = f"Too many requests; please wait {span}."
    return answer(Problem(429, QUOTA_EXCEEDED, detail, seconds, violated_policies=[_policy(limit)]))


def _policy(limit: RequestLimit) -> str:
    return f"{limit.request_args[0].partition(':')[0]}-{limit.limit.get_expiry()}s"


def _announce(response: Response) -> Response:
    """The RateLimit fields: every limit of the route, and where the client stands with the tightest."""
    if not (limits := current_app.extensions["limits"].current_limits):
        return response
    try:
        tightest = min(limits, key=lambda limit: limit.remaining)
        left, seconds = tightest.remaining, max(0, math.ceil(tightest.reset_at - time.time()))
    except Exception as error:
        current_app.logger.warning("the store of limits does not answer: %s", type(error).__name__)
        return response
    policies = (f'"{_policy(limit)}";q={limit.limit.amount};w={limit.limit.get_expiry()}' for limit in limits)
    response.headers["RateLimit-Policy"] = ", ".join(policies)
    response.headers["RateLimit"] = f'"{_policy(tightest)}";r={left};t={seconds}'
    return response


def init_app(app: Flask) -> None:
    """Count in Redis, if there is one; while it is lost each process counts for itself, so that no limit falls away."""
    redis = app.extensions["settings"].redis
    store: dict[str, Any] = {"storage_uri": redis or "memory://", "storage_options": REDIS_TIMEOUTS if redis else {}}
    how: dict[str, Any] = {"strategy": "sliding-window-counter", "in_memory_fallback_enabled": True}
    limiter = app.extensions["limits"] = Limiter(client, on_breach=_refuse, **store, **how)
    limiter.init_app(app)
    app.after_request(_announce)
    if redis:
        storage = limiter.storage
        app.extensions["readiness"]["redis"] = lambda: "ok" if storage.check() else "degraded: Redis does not answer"
