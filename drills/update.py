"""Projects of older versions, with what a team edits in them, follow the template to a green suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.exit(
    subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "drill", "tests/test_update.py"], cwd=Path(__file__).parents[1]
    ).returncode
)
