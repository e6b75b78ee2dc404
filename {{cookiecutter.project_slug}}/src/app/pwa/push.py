"""Notifications by Web Push (RFC 8030): which devices want them, and sending one.

A subscription belongs to a signed-in session and ends with it. Its endpoint is an address that a client names and this
server calls: only HTTPS addresses of known push services are accepted, and redirects are not followed.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import click
from flask import g
from flask_login import current_user
from pydantic import AfterValidator, BaseModel, StringConstraints
from sqlalchemy import ForeignKey, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app import jobs
from app.accounts import own_data, sessions
from app.accounts.models import User, UserSession
from app.config import settings
from app.database import Created, Model, db, reading, transaction
from app.observability import metrics

KEEP_SECONDS = 12 * 3600  # how long a push service tries to reach a device that is switched off
PATIENCE = 5  # seconds for a push service to answer
GONE = (404, 410)


class PushSubscription(Created, Model):
    """How one signed-in device is told; *with_title* lets the conversation's title leave this server, encrypted."""

    __tablename__ = "push_subscriptions"

    session_id: Mapped[UUID] = mapped_column(ForeignKey("user_sessions.id", ondelete="CASCADE"), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(1000))
    p256dh: Mapped[str] = mapped_column(String(100))
    auth: Mapped[str] = mapped_column(String(40))
    with_title: Mapped[bool] = mapped_column(default=False)


def _of_a_push_service(endpoint: str) -> str:
    # Nothing but a plain host name before the path: no user, port or escape that two parsers could read differently.
    found = re.fullmatch(r"https://([a-z0-9][a-z0-9.-]*)/[A-Za-z0-9._~:/?=&%+,;-]+", endpoint)
    hosts = settings().push_hosts
    if not found or not any(found[1] == host or (host[0] == "." and found[1].endswith(host)) for host in hosts):
        raise ValueError("not an address of a push service in PUSH_HOSTS")
    return endpoint


class Subscription(BaseModel, extra="forbid"):
    """What a browser's ``PushSubscription`` says; the keys are a P-256 point and 16 bytes, in base64url."""

    endpoint: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_of_a_push_service)]
    p256dh: Annotated[str, StringConstraints(pattern=r"^B[A-Za-z0-9_-]{86}=?$")]
    auth: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}(==)?$")]
    with_title: bool = False


def subscribe(user: User, session_id: UUID, wanted: Subscription) -> None:
    """Tell this session's device from now on; what it said before is replaced."""
    db.session.merge(PushSubscription(session_id=session_id, **wanted.model_dump()))
    user.notify = True
    db.session.commit()


def unsubscribe(user_id: UUID, session_id: UUID) -> bool:
    """Tell that device no more; False when this user has no such device."""
    own = select(UserSession.id).where(UserSession.user_id == user_id, UserSession.id == session_id)
    gone = delete(PushSubscription).where(PushSubscription.session_id.in_(own)).returning(PushSubscription.session_id)
    found = db.session.execute(gone).first() is not None
    db.session.commit()
    return found


def devices(session: Session, user_id: UUID) -> Sequence[tuple[PushSubscription, UserSession]]:
    """A user's living sessions that want to be told."""
    query = select(PushSubscription, UserSession).join(UserSession, UserSession.id == PushSubscription.session_id)
    living = query.where(UserSession.user_id == user_id, sessions.is_alive(settings()))
    return [(row[0], row[1]) for row in session.execute(living)]


def section() -> dict[str, Any]:
    """What the settings page shows of notifications."""
    return {"notified": devices(db.session, current_user.id), "notified_id": g.session_id}


def exported(user_id: UUID) -> list[dict[str, Any]]:
    """What is stored of a user's devices; what lets others write to them is not told."""
    with reading() as session:
        return [own_data.columns(device, "endpoint", "p256dh", "auth") for device, _ in devices(session, user_id)]


@lru_cache
def _http() -> Any:
    import requests

    session = requests.Session()
    session.max_redirects = 0  # an answer that sends us elsewhere is a failure
    return session


@jobs.task(retries=3)
def send(session_id: UUID, message: dict[str, str]) -> None:
    """Send *message* (title, body, url, tag) to one device; a device that its push service has forgotten is removed.

    Raises:
        WebPushException, requests.RequestException: the push service did not take it; the job is tried again.
    """
    from pywebpush import WebPushException, webpush  # with requests and aiohttp: only who sends pays for them

    with reading() as session:
        device = session.get(PushSubscription, session_id)
    if device is None:
        return
    keys = {"p256dh": device.p256dh, "auth": device.auth}
    where: dict[str, Any] = {"endpoint": _of_a_push_service(device.endpoint), "keys": keys}
    sender = settings().vapid_private_key.get_secret_value(), {"sub": f"mailto:{settings().sender}"}
    how: dict[str, Any] = {"timeout": PATIENCE, "ttl": KEEP_SECONDS, "requests_session": _http()}
    try:
        webpush(where, json.dumps(message), *sender, **how)
        metrics.add("app.pushes", outcome="sent")
    except WebPushException as error:
        metrics.add("app.pushes", outcome="refused")
        if error.response is None or error.response.status_code not in GONE:
            raise
        with transaction() as writer:
            writer.execute(delete(PushSubscription).where(PushSubscription.session_id == session_id))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def public_key() -> str:
    """What browsers subscribe with (``applicationServerKey``); empty when notifications are not set up."""
    return _public_key(settings().vapid_private_key.get_secret_value())


@lru_cache
def _public_key(private_key: str) -> str:
    if not private_key:
        return ""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from py_vapid import Vapid02

    point = Vapid02.from_string(private_key).public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _base64url(point)


@click.command("vapid")
def vapid() -> None:
    """Print a new VAPID_PRIVATE_KEY. Under another key, browsers have to subscribe once more."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    number = generate_private_key(SECP256R1()).private_numbers().private_value
    click.echo(f"VAPID_PRIVATE_KEY={_base64url(number.to_bytes(32, 'big'))}")
