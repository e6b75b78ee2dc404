"""The application with a job of every ten seconds, which notes when it ran: ``ticks.py`` starts three workers."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from app import create_app, jobs

SECONDS = 10


@jobs.periodic(every=timedelta(seconds=SECONDS))
def note() -> None:
    with Path(os.environ["TICKS"]).open("a") as file:
        file.write(f"{time.time():.3f} {os.getpid()}\n")


app = create_app()
