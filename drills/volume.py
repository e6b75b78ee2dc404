"""A million messages, a clean-up while people read, and fifty thousand pages with five thousand answers, on PostgreSQL
and Redis. One part after another; arguments choose some by name.
"""

from __future__ import annotations

import shutil
import sys

import lab
from scanners import rehearse

if __name__ == "__main__":
    try:
        sys.exit(rehearse(dict.fromkeys(("million", "soak", "ticks"))))
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
