"""``make drills [ONLY=id]``: long rehearsals on real parts, one script each in this folder; its exit status decides."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NOT_DRILLS = {"run", "lab", "monitoring_lab", "otlp_sink", "services"}


def main() -> int:
    known = {path.stem.replace("_", "-"): path for path in sorted(HERE.glob("*.py")) if path.stem not in NOT_DRILLS}
    chosen = sys.argv[1:] or list(known)
    if unknown := set(chosen) - known.keys():
        print(f"no such drill: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    failed = 0
    for name in chosen:
        started = time.monotonic()
        ok = subprocess.run([sys.executable, str(known[name])], check=False).returncode == 0
        failed += not ok
        print(f"DRILL {name} {'ok' if ok else 'failed'} {time.monotonic() - started:.0f}", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
