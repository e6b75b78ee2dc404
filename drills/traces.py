"""One trace for each thing that people do, behind a proxy and on two workers, as an OTLP receiver sees it; and what a
receiver costs that is not there.
"""

from __future__ import annotations

import shutil
import sys

import lab
from scanners import run

if __name__ == "__main__":
    try:
        project = lab.project()
        sys.exit(not all([run(project, "traces", []), run(project, "unreachable", [])]))
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
