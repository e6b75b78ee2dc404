"""``make load``: Locust against a site, or against this project served here.

``run.py [URL]``. LOAD_USERS and LOAD_SECONDS say how many people for how long; LOAD_EMAIL and LOAD_PASSWORD are an
account of the site, which answers with its own model, so that each question costs what it costs. Without a URL the demo
model answers. The report with its plots is load-report/report.html; kept budgets are recorded for `flask ready`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from live import LiveServer  # noqa: E402

from app import jobs  # noqa: E402
from app.database import now  # noqa: E402
from app.operations import operating  # noqa: E402

USERS, SECONDS = os.environ.get("LOAD_USERS", "30"), os.environ.get("LOAD_SECONDS", "60")


@contextmanager
def served() -> Iterator[str]:
    """This project with the demo model and a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder), LOG_LEVEL="WARNING")
        migrate = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), "db", "upgrade"]
        subprocess.run(migrate, cwd=folder, env=server.environment, check=True)
        try:
            yield server.start().url
        finally:
            server.stop()


def load(url: str) -> bool:
    report = ROOT / "load-report"
    report.mkdir(exist_ok=True)
    command = ["locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless", "--only-summary"]
    command += ["--host", url, "-u", USERS, "-r", "10", "-t", f"{SECONDS}s", "--stop-timeout", "30"]
    command += ["--html", str(report / "report.html"), "--csv", str(report / "figures")]
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode == 0


def main() -> int:
    if len(sys.argv) > 1:
        kept = load(sys.argv[1].rstrip("/"))
    else:
        with served() as url:
            kept = load(url)
    if kept:
        with operating():
            jobs.queue().put("load-test", {"at": now(), "users": USERS, "seconds": SECONDS})
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
