"""Runs pytest and judges what it prints: killed, survived, or no verdict."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

MINUTES = 5
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider"]
FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)
# Where the sources do not even build, a fixture or the collection fails.
FAILED_OR_ERROR = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
TESTS_PASSED = 0
TESTS_FAILED = 1
COLLECTION_FAILED = 2


class Result(NamedTuple):
    """How one run of pytest ended."""

    exit_code: int | None  # None: it took too long; below zero: a signal ended it
    failed_test: str | None
    output: str

    @property
    def is_verdict(self) -> bool:
        """Whether all tests passed or one failed; anything else says nothing."""
        if self.failed_test is None:
            return self.exit_code == TESTS_PASSED
        return self.exit_code in (TESTS_FAILED, COLLECTION_FAILED)

    @property
    def why_no_verdict(self) -> str:
        if self.exit_code is None:
            return "too slow"
        return f"exit code {self.exit_code}: {self.output[-400:]!r}"

    def verdict(self, name: str) -> str:
        """The line for the mutation called *name*."""
        if not self.is_verdict:
            return f"SURVIVED {name} ({self.why_no_verdict})"
        if self.failed_test is not None:
            return f"KILLED {name} {self.failed_test}"
        return f"SURVIVED {name}"


def run_pytest(
    command: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    failure: re.Pattern[str] = FAILED,
    minutes: float = MINUTES,
) -> Result:
    """Run pytest in *folder*; the first group of *failure* is the test that failed."""
    try:
        process = subprocess.run(
            [*command, *OPTIONS],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60 * minutes,
        )
    except subprocess.TimeoutExpired:
        return Result(None, None, "")
    failed = failure.search(process.stdout)
    output = process.stdout + process.stderr
    return Result(process.returncode, failed[1] if failed else None, output)


def repeat_without_verdict(name: str, run: Callable[[], Result]) -> Result:
    """Call *run* a second time if the first ended without a verdict, and say so."""
    result = run()
    if result.is_verdict:
        return result
    print(f"REPEATED {name} ({result.why_no_verdict})", flush=True)
    return run()
