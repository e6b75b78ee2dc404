"""Remove each protection once and see that a test notices: ``KILLED <id> <test>`` or ``SURVIVED <id>``.

The project is rendered and installed once; each mutation changes one place of a copy and runs only its own tests there,
as many at once as there are processors. ``make mutations ONLY=id,id`` runs some.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import template
from catalogue import ALL, Mutation
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
MINUTES = 5


def run_tests(project: Path, python: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """Pytest on the tests that a mutation names, in a copy that has its own sources first on the path."""
    file, *options = shlex.split(tests)
    command = [str(python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{file}", *options]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=60 * MINUTES)


def verdict(mutation: Mutation, project: Path, python: Path) -> str:
    """Apply one mutation to a copy of the project, run its tests, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", "data", "__pycache__", ".git"))
        path = copy / "src/app" / mutation.path
        source = path.read_text("utf-8")
        if source.count(mutation.old) != 1:
            return f"SURVIVED {mutation.id} (its place in {mutation.path} is not there once)"
        path.write_text(source.replace(mutation.old, mutation.new), "utf-8")
        try:
            result = run_tests(copy, python, mutation.tests)
        except subprocess.TimeoutExpired:
            return f"SURVIVED {mutation.id} (its tests took more than {MINUTES} minutes)"
    if found := re.search(r"^FAILED (\S+)", result.stdout, re.MULTILINE):
        return f"KILLED {mutation.id} {found[1]}"
    return f"SURVIVED {mutation.id}" + ("" if result.returncode == 0 else f" ({result.stdout[-400:]!r})")


def main(only: list[str]) -> int:
    chosen = [mutation for mutation in ALL if not only or mutation.id in only]
    mistakes = [mistake for mistake in template.MISTAKES if not only or mistake.id in only]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder))
        subprocess.run(["make", "setup"], cwd=project, check=True, stdout=subprocess.DEVNULL)
        python = project / ".venv/bin/python"
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            plain = sorted({mutation.tests for mutation in chosen})
            for tests, result in zip(
                plain, pool.map(lambda tests: run_tests(project, python, tests), plain), strict=True
            ):
                if result.returncode != 0:
                    print(f"{tests} is not green without a mutation:\n{result.stdout[-2000:]}")
                    return 2
            verdicts = []
            for lines in (
                pool.map(template.verdict, mistakes),
                pool.map(lambda mutation: verdict(mutation, project, python), chosen),
            ):
                for line in lines:
                    print(line, flush=True)
                    verdicts.append(line)
    survived = sum(line.startswith("SURVIVED") for line in verdicts)
    print(f"{len(verdicts) - survived} of {len(verdicts)} killed in {time.monotonic() - started:.0f} seconds")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main([name for argument in sys.argv[1:] for name in argument.split(",") if name]))
