"""2,000 answers, 30 at once, on two workers: ordinary ones, and all odd shapes that providers were seen to send.

Each good answer is complete and saved, each bad one ends with its own message, and memory does not grow.

``python drills/shapes.py --seed 7`` repeats a run; the other options are those of ``tests/soak.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import lab


def main() -> int:
    project = lab.project()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("VIRTUAL_ENV", None)
    command = [str(project / ".venv/bin/python"), str(project / "tests/soak.py"), *sys.argv[1:]]
    return subprocess.run(command, cwd=lab.WORK, env=environment).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
