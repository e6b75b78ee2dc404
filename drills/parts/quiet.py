"""The application, and a note of every address that it asks for or connects to: ``unreachable.py`` serves it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

NOTES = Path(os.environ["DATA_DIR"]) / "connects"


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        with NOTES.open("a") as file:
            file.write(f"{event} {arguments[1 if event == 'socket.connect' else 0]}\n")


sys.addaudithook(note)

from app import create_app  # noqa: E402

app = create_app()
