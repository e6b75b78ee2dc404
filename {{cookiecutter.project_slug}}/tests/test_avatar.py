"""Pictures are encoded anew, bounded, and shown to their owner alone."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from flask import Flask
from PIL import Image
from support import FETCH, PAGE, Visitor
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

pytestmark = pytest.mark.one_engine


def picture(kind: str = "JPEG", size: tuple[int, int] = (900, 600), **options: object) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(data, kind, **options)
    return data.getvalue()


def upload(visitor: Visitor, data: bytes, name: str = "me.jpg") -> int:
    csrf = visitor.client.get("/account/csrf", headers=FETCH).json["token"]
    boundary, body = encode_multipart({"picture": FileStorage(io.BytesIO(data), name)})
    response = visitor.client.post(
        "/account/avatar",
        data=body,
        headers=PAGE | {"X-CSRFToken": csrf},
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    return response.status_code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_becomes_a_small_square(app: Flask, ada: Visitor, kind: str, tmp_path: Path) -> None:
    assert upload(ada, picture(kind)) == 303
    response = ada.get("/account/avatar")
    assert response.mimetype == "image/webp"
    assert response.headers["Cache-Control"] == "no-store"
    image = Image.open(io.BytesIO(response.data))
    assert (image.format, image.size) == ("WEBP", (256, 256))
    assert len(list((tmp_path / "avatars").iterdir())) == 1
    assert 'src="/account/avatar"' in ada.get("/account/settings").text


def test_nothing_but_pixels_is_kept(ada: Visitor) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    data = picture(exif=exif, icc_profile=b"secret profile") + b"<script>secret tail</script>"
    assert b"secret place" in data
    assert upload(ada, data, "me.svg") == 303
    kept = ada.get("/account/avatar").data
    assert b"secret" not in kept
    assert not Image.open(io.BytesIO(kept)).getexif()


def bomb(side: int) -> bytes:
    """A small PNG of many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", picture("BMP"), picture("TIFF"),
        picture()[:400], bomb(8_000), bomb(60_000), b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
    ids=["empty", "gif head", "svg", "bmp", "tiff", "cut off", "64 megapixels", "bomb", "postscript"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_and_the_earlier_one_stays(ada: Visitor, data: bytes) -> None:
    assert upload(ada, picture()) == 303
    before = ada.get("/account/avatar").data
    assert upload(ada, data) == 422
    assert ada.get("/account/avatar").data == before


def test_a_photograph_fits_and_more_than_the_limit_does_not(ada: Visitor) -> None:
    assert upload(ada, picture() + b"x" * 5_000_000) == 303
    assert upload(ada, picture() + b"x" * 8_100_000) == 413


def test_a_picture_is_its_owners_and_can_be_removed(app: Flask, ada: Visitor, bob: Visitor, tmp_path: Path) -> None:
    upload(ada, picture())
    assert bob.get("/account/avatar").status_code == 404
    assert Visitor(app).get("/account/avatar", FETCH).status_code == 401
    assert ada.post("/account/avatar/delete", PAGE).status_code == 303
    assert ada.get("/account/avatar").status_code == 404
    assert list((tmp_path / "avatars").iterdir()) == []
