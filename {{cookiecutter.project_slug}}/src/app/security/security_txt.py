"""``/.well-known/security.txt`` (RFC 9116): whom to tell about a hole; it never expires, being written when asked."""

from datetime import timedelta

from flask import Blueprint, Response, url_for
from flask.typing import ResponseReturnValue

from app.config import current as settings
from app.config import project
from app.database import now

bp = Blueprint("security_txt", __name__)


@bp.get("/.well-known/security.txt")
def show() -> ResponseReturnValue:
    contact = settings().security_contact or f"mailto:security@{project()['domain']}"
    expires = (now() + timedelta(days=180)).isoformat(timespec="seconds")
    canonical = url_for(".show", _external=True)
    text = f"Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\nCanonical: {canonical}\n"
    return Response(text, mimetype="text/plain")
