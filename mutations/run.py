"""Remove each protection once and check that a test fails.

Prints ``KILLED <id> <test>`` or ``SURVIVED <id>`` for each mutation. The project is
rendered and installed once; each mutation changes one place of a copy and runs only its
own tests there, as many at once as there are processors. ``make mutations ONLY=id,id``
runs some of them.

A test run that ends without a verdict (killed, out of memory, too slow) is repeated
once, and ``REPEATED <id> <why>`` says so.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import template
from catalogue import ALL, Mutation
from cookiecutter.main import cookiecutter
from places import PlaceError
from verdicts import Result, repeat_without_verdict, run_pytest

TEMPLATE = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".venv", "data", "__pycache__", ".git")


def run_tests(name: str, project: Path, python: Path, tests: str) -> Result:
    """Run the tests that a mutation names on the sources in *project*."""
    file, *options = shlex.split(tests)
    command = [str(python), "-m", "pytest", f"tests/{file}", *options]
    environment = {
        variable: os.environ[variable]
        for variable in ("PATH", "HOME")
        if variable in os.environ
    }
    environment["PYTHONPATH"] = str(project / "src")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return repeat_without_verdict(
        name,
        lambda: run_pytest(command, project, environment),
    )


def verdict(mutation: Mutation, project: Path, python: Path) -> str:
    """Apply one mutation to a copy of the project, run its tests and judge them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project, copy, ignore=LEFT_OUT)
        path = copy / "src/app" / mutation.path
        try:
            path.write_bytes(mutation.mutate(path.read_bytes()))
        except (OSError, PlaceError) as error:
            return f"SURVIVED {mutation.id} ({mutation.path}: {error})"
        result = run_tests(mutation.id, copy, python, mutation.tests)
    return result.verdict(mutation.id)


def failing_unchanged(
    tests: Iterable[str],
    run: Callable[[str], Result],
    pool: ThreadPoolExecutor,
) -> list[str]:
    """Run each set of tests on unchanged sources; say which of them fail there."""
    names = sorted(set(tests))
    results = pool.map(run, names)
    return [
        f"{name} fails without a mutation:\n{result.output[-2000:]}"
        for name, result in zip(names, results, strict=True)
        if result.exit_code != 0
    ]


def set_up_project(folder: str) -> Path:
    rendered = cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder)
    subprocess.run(
        ["make", "setup"], cwd=rendered, check=True, stdout=subprocess.DEVNULL
    )
    return Path(rendered)


def verdicts_on_template(
    mistakes: list[template.Mistake], pool: ThreadPoolExecutor
) -> Iterator[str]:
    tests = [mistake.tests for mistake in mistakes]
    if failing := failing_unchanged(tests, template.run_unchanged, pool):
        sys.exit("\n".join(failing))
    yield from pool.map(template.verdict, mistakes)


def verdicts_on_project(
    mutations: list[Mutation], project: Path, pool: ThreadPoolExecutor
) -> Iterator[str]:
    python = project / ".venv/bin/python"

    def run_unchanged(tests: str) -> Result:
        return run_tests(tests, project, python, tests)

    tests = [mutation.tests for mutation in mutations]
    if failing := failing_unchanged(tests, run_unchanged, pool):
        sys.exit("\n".join(failing))
    yield from pool.map(lambda each: verdict(each, project, python), mutations)


def main(only: list[str]) -> int:
    mutations = [mutation for mutation in ALL if not only or mutation.id in only]
    mistakes = [each for each in template.MISTAKES if not only or each.id in only]
    known = [mutation.id for mutation in mutations] + [each.id for each in mistakes]
    if unknown := set(only).difference(known):
        print(f"no such mutation: {', '.join(sorted(unknown))}")
        return 2
    started = time.monotonic()
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for line in verdicts_on_template(mistakes, pool):
            print(line, flush=True)
            lines.append(line)
        project = set_up_project(folder) if mutations else Path(folder)
        for line in verdicts_on_project(mutations, project, pool):
            print(line, flush=True)
            lines.append(line)
    survived = sum(line.startswith("SURVIVED") for line in lines)
    seconds = time.monotonic() - started
    print(f"{len(lines) - survived} of {len(lines)} killed in {seconds:.0f} seconds")
    return 1 if survived else 0


if __name__ == "__main__":
    ids = [name for argument in sys.argv[1:] for name in argument.split(",") if name]
    sys.exit(main(ids))
