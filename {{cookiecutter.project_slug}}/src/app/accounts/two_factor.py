"""TOTP codes and recovery codes: encrypted with the secret key, each usable once, the QR code as inline SVG."""

import base64
import hashlib
from typing import Any

import qrcode.image.svg
from flask import Flask
from flask_security import Totp, tf_code_confirmed
from markupsafe import Markup
from passlib import exc, totp

from app.accounts.models import User
from app.config import Settings


def options(settings: Settings) -> dict[str, Any]:
    """What Flask-Security needs to know; secrets are tagged by their own hash, so that a rotated key finds its own."""
    secrets = (settings.secret_key.get_secret_value(), *settings.secret_key_fallbacks)  # the newest first
    keys = [hashlib.sha256(b"two-factor:" + secret.encode()).digest() for secret in secrets]
    tags = {hashlib.sha256(key).hexdigest()[:12]: key.hex() for key in keys}
    codes = [base64.urlsafe_b64encode(key) for key in keys]
    return {"SECURITY_TOTP_SECRETS": tags, "SECURITY_MULTI_FACTOR_RECOVERY_CODES_KEYS": codes}


class OneTimeCodes(Totp):
    """Flask-Security's TOTP, with codes that work once, key rotation, and a QR code that the CSP lets through."""

    def __init__(self, secrets: dict[str, str], issuer: str):
        self._totp = totp.TOTP.using(issuer=issuer, secrets=secrets, default_tag=next(iter(secrets)))

    def verify_totp(self, token: str, totp_secret: str, user: Any, window: int = 0) -> bool:
        try:
            match = self._totp.from_source(totp_secret).match(token, window=window, last_counter=user.tf_last_counter)
        except (exc.TokenError, KeyError):  # wrong, used, or encrypted with a key that is no fallback any more
            return False
        user.tf_last_counter = match.counter
        return True

    def renew(self, sender: Any, user: User, **_: Any) -> None:
        """Encrypt a secret with the present key when it was with an older one."""
        secret = self._totp.from_source(user.tf_totp_secret)
        if secret.changed:
            user.tf_totp_secret = secret.to_json(encrypt=True)

    def generate_qrcode(self, username: str, secret: str) -> str:
        image = qrcode.make(self.get_totp_uri(username, secret), image_factory=qrcode.image.svg.SvgPathImage)
        return Markup(image.to_string(encoding="unicode"))  # noqa: S704 (paths drawn by the library)


def init_app(app: Flask) -> None:
    tf_code_confirmed.connect(app.extensions["security"].totp_factory.renew, app)
