"""A user's picture, the one kind of file that users bring. It is decoded, cut square, made small and encoded anew:
of what was uploaded nothing but pixels is kept."""

from base64 import b64encode
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from flask import Blueprint, Flask, Response, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app.accounts import own_data, views
from app.accounts.models import User
from app.config import settings
from app.database import new_id
from app.errors import Problem

bp = Blueprint("avatar", __name__, url_prefix="/account/avatar")

SIDE = 256  # pixels
MOST_BYTES = 8_000_000  # a telephone's photograph
MOST_PIXELS = 50_000_000  # a small file can unpack to a picture that fills the memory
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


def path_of(user_id: UUID) -> Path:
    """Where the picture of a user is, if there is one."""
    return settings().data_dir / "avatars" / f"{user_id}.webp"


def exists() -> bool:
    """Whether the signed-in user has a picture."""
    return path_of(current_user.id).exists()


def save(user_id: UUID, file: IO[bytes]) -> None:
    """Keep *file* as the picture of a user.

    Raises:
        Problem: 422 when it is not a picture of an accepted format and size.
    """
    from PIL import Image, ImageOps  # only who brings a picture pays for it

    try:
        with Image.open(file, formats=FORMATS) as picture:
            _check_size(*picture.size)
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG is decoded small
            small = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGBA"), (SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Problem(422, "invalid", "That is not a picture that can be read: JPEG, PNG, WebP or GIF.") from None
    small.info.clear()  # where it was taken, colour profiles
    path = path_of(user_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{new_id()}")
    small.save(fresh, "WEBP", quality=85)
    fresh.replace(path)  # never half a picture


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError("too many pixels")


@bp.url_value_preprocessor
def _allow_pictures(endpoint: str | None, values: dict[str, Any] | None) -> None:
    if endpoint == "avatar.upload":  # before the CSRF check reads the form
        request.max_content_length = MOST_BYTES


@bp.get("")
def show() -> ResponseReturnValue:
    path = path_of(current_user.id)
    if not path.exists():
        abort(404)
    return Response(path.read_bytes(), mimetype="image/webp")


@bp.post("")
def upload() -> ResponseReturnValue:
    file = request.files.get("picture")
    if file is None or not file.filename:
        raise Problem(422, "invalid", "Choose a picture first.", errors={"picture": ["missing"]})
    save(current_user.id, file.stream)
    flash("Your picture is changed.", "success")
    return redirect(url_for("accounts.settings", _anchor="avatar"), 303)


@bp.post("/delete")
def delete() -> ResponseReturnValue:
    path_of(current_user.id).unlink(missing_ok=True)
    flash("Your picture is removed.", "success")
    return redirect(url_for("accounts.settings", _anchor="avatar"), 303)


def _forget(sender: Any, user: User) -> None:
    path_of(user.id).unlink(missing_ok=True)


def _as_data(user_id: UUID) -> list[dict[str, Any]]:
    path = path_of(user_id)
    return [{"webp": b64encode(path.read_bytes()).decode()}] if path.exists() else []


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)
    app.jinja_env.globals["has_avatar"] = exists
    own_data.account_deleted.connect(_forget, app)
    own_data.exports(app, "picture", _as_data)
    views.add_section(app, "avatar")
