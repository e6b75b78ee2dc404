"""Scanners, a fuzzer and a guesser of passwords against the generated application, as production serves it.

Needs Node 20 or newer, npm and redis-server. One part after another; arguments choose some by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lab

OBSERVATORY = ("@mdn/mdn-http-observatory@1.4.8", "csp_evaluator@1.1.8")
PYTHON = ("sqlmap==1.10.10", "wapiti3==3.2.3")
MOST_MINUTES = 30  # of one part, on a machine with two cores and nothing else to do a third of it


def with_npm() -> str:
    """A folder with MDN's Observatory and the CSP Evaluator, without the lists that they would fetch from elsewhere."""
    folder = lab.WORK / "npm"
    folder.mkdir()
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *OBSERVATORY]
    subprocess.run(command, cwd=folder, check=True)
    (folder / "node_modules/@mdn/mdn-http-observatory/conf/hsts-preload.json").write_text("{}")
    return str(folder)


def with_pip(program: str) -> Callable[[], str]:
    """The path of a program in an environment of its own, which is made when it is first asked for."""

    def path() -> str:
        folder = lab.WORK / "pip"
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(folder / "bin/pip"), "install", "--quiet", *PYTHON], check=True)
        return str(folder / "bin" / program)

    return path


PARTS: dict[str, Callable[[], str] | None] = {
    "observatory": with_npm,
    "signins": None,
    "fuzz": None,
    "injection": with_pip("sqlmap"),
    "crawl": with_pip("wapiti"),
}


def run(project: Path, name: str, arguments: list[str]) -> bool:
    """Whether a part found nothing; it has the interpreter and the test helpers of the generated project."""
    environment = os.environ | {"PYTHONPATH": str(project / "tests"), "PYTHONUNBUFFERED": "1"}
    environment.pop("VIRTUAL_ENV", None)
    command = [str(project / ".venv/bin/python"), str(lab.HERE / "parts" / f"{name}.py"), *arguments]
    try:
        return subprocess.run(command, cwd=lab.WORK, env=environment, timeout=MOST_MINUTES * 60).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"  PROBLEM not within {MOST_MINUTES} minutes", flush=True)
        return False


def rehearse(parts: dict[str, Callable[[], str] | None]) -> int:
    """Run all *parts*, or those that arguments name, one after another; 1 when one found something."""
    chosen = sys.argv[1:] or list(parts)
    project, failed, began = lab.project(), [], time.monotonic()
    for name in chosen:
        print(f"{name}", flush=True)
        bring, started = parts[name], time.monotonic()
        ok = run(project, name, [bring()] if bring else [])
        failed += [] if ok else [name]
        print(f"{name}: {'ok' if ok else 'FAILED'}, {time.monotonic() - started:.0f} seconds\n", flush=True)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} parts found nothing, {time.monotonic() - began:.0f} seconds")
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(rehearse(PARTS))
    finally:
        shutil.rmtree(lab.WORK, ignore_errors=True)
