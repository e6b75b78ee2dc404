"""One trace for each thing that people do, behind a proxy and on two workers, as an OTLP receiver sees it."""

from __future__ import annotations

import shutil
import sys

import lab
from scanners import run

if __name__ == "__main__":
    try:
        sys.exit(not run(lab.project(), "traces", []))
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
