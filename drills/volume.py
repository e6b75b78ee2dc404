"""A million messages, a clean-up while people read, and fifty thousand pages with five thousand answers, on PostgreSQL
and Redis. One part after another; arguments choose some by name.
"""

from __future__ import annotations

import shutil
import sys
import time

import lab
from scanners import run

PARTS = ("million", "soak", "ticks")


def main() -> int:
    chosen, failed = sys.argv[1:] or list(PARTS), []
    project = lab.project()
    for name in chosen:
        print(name, flush=True)
        started = time.monotonic()
        ok = run(project, name, [])
        failed += [] if ok else [name]
        print(f"{name}: {'ok' if ok else 'FAILED'}, {time.monotonic() - started:.0f} seconds\n", flush=True)
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
