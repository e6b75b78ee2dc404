"""Three processes work on jobs: one of every ten seconds runs once a tick of the real clock, on every store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import engines
from served import finish, table

PARTS = Path(__file__).parent
SECONDS, TICKS = 10, 3


def ticked(folder: Path, **settings: str) -> list[tuple[float, int]]:
    """When the job ran, and in which process, within three ticks."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    kept |= {"APP_ENV": "development", "SECRET_KEY": "for-one-drill-0123456789-abcdefghijklmn", "MODEL": "demo"}
    kept |= {"DATA_DIR": str(folder), "TICKS": str(folder / "ticks"), "PYTHONPATH": f"{PARTS}:{kept['PYTHONPATH']}"}
    command = [sys.executable, "-m", "flask", "--app", "ticking:app"]
    subprocess.run([*command, "db", "upgrade"], cwd=folder, env=kept | settings, check=True, capture_output=True)
    log = (folder / "jobs.log").open("wb")
    workers = [
        subprocess.Popen([*command, "jobs"], cwd=folder, env=kept | settings, stdout=log, stderr=log) for _ in range(3)
    ]
    time.sleep(8)  # they have started
    begin = (time.time() // SECONDS + 1) * SECONDS
    time.sleep(begin - time.time() + TICKS * SECONDS - 1)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(60)
    lines = (folder / "ticks").read_text().splitlines()
    return [(float(at), int(pid)) for at, pid in map(str.split, lines) if float(at) >= begin]


def main() -> None:
    problems = []
    with engines.running_services() as (url, redis_url):
        stores = {
            "SQLite": {},
            "PostgreSQL": {"DATABASE_URL": url},
            "Redis": {"DATABASE_URL": url, "JOBS_URL": redis_url},
        }
        for name, settings in stores.items():
            ran = ticked(Path(tempfile.mkdtemp(prefix="drill-")), **settings)
            ticks = [int(at // SECONDS) for at, _ in ran]
            late = max((at % SECONDS for at, _ in ran), default=0)
            table((name, f"{len(ran)} runs for {TICKS} ticks", f"at most {late:.1f} s after its tick"))
            problems += [] if len(ran) == len(set(ticks)) == TICKS else [f"{name}: ran at {ran}"]
    finish(problems)


if __name__ == "__main__":
    main()
