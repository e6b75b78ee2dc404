"""Mistakes of a maintainer of the template: each is made once in a copy.

A test of the template has to notice it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import changes
from places import Place, in_function, in_text
from verdicts import FAILED_OR_ERROR, Result, repeat_without_verdict, run_pytest

ROOT = Path(__file__).parents[1]
PROJECT = "{{cookiecutter.project_slug}}"
MINUTES = 15
FileChange = Callable[[Path], object]

BUDGETS = "tests/test_budgets.py"
CONTENTS = "tests/test_contents.py"
DOCS = "tests/test_docs.py"
RENDER = "tests/test_render.py"
DEFAULTS = "tests/test_render.py::test_all_pairs_of_choices_render"


class Mistake(NamedTuple):
    id: str
    path: str  # in the repository; ``P`` is the folder that is rendered
    change: FileChange
    tests: str


def edit(place: Place, change: changes.Change) -> FileChange:
    return lambda path: path.write_bytes(change(place.find(path.read_bytes())))


def append(text: str) -> FileChange:
    """Add *text* to the end of a file, or create it."""

    def change(path: Path) -> None:
        before = path.read_text("utf-8") if path.exists() else ""
        path.write_text(before + text, "utf-8")

    return change


def set_mode(mode: int) -> FileChange:
    return lambda path: path.chmod(mode)


def use_crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


MISTAKES = [
    Mistake("file-dropped", "P/docs/runbook.md", Path.unlink, DOCS),
    Mistake("module-dropped", "P/src/app/static/js/outbox.js", Path.unlink, CONTENTS),
    Mistake(
        id="condition-broken",
        path="P/LICENSE",
        change=edit(in_text('== "MIT"'), changes.replace_by('== "mit"')),
        tests=RENDER,
    ),
    Mistake(
        id="value-leaked",
        path="P/src/app/pages/home.py",
        change=append('NAME = "{{ cookiecutter.project_name }}"\n'),
        tests=DEFAULTS,
    ),
    Mistake(
        id="statement-leaked",
        path="P/gunicorn.conf.py",
        change=append("# {% raw %}{% if x %}{% endraw %}\n"),
        tests=DEFAULTS,
    ),
    Mistake("mode-wrong", "P/wsgi.py", set_mode(0o755), CONTENTS),
    Mistake("script-not-executable", "P/deploy/release", set_mode(0o644), CONTENTS),
    Mistake("line-endings", "P/Makefile", use_crlf, DEFAULTS),
    Mistake(
        id="workflow-rendered",
        path="cookiecutter.json",
        change=edit(in_text('    ".github/*",\n'), changes.replace_by("")),
        tests=RENDER,
    ),
    Mistake(
        id="value-without-effect",
        path="P/Dockerfile",
        change=edit(
            in_text("{{ cookiecutter.python_version }}"),
            changes.replace_by("3.13"),
        ),
        tests=RENDER,
    ),
    Mistake("file-unused", "P/forgotten.sh", append("exit 0\n"), CONTENTS),
    Mistake(
        "module-unused", "P/src/app/forgotten_module.py", append("X = 1\n"), CONTENTS
    ),
    Mistake(
        id="quote-not-escaped",
        path="cookiecutter.json",
        change=edit(
            in_text(
                r"""project_name | replace('\\\\', '\\\\\\\\') | replace('\"', '"""
            ),
            changes.replace_by(
                r"""project_name | replace('\\\\', '\\\\\\\\') | replace('\u0007', '"""
            ),
        ),
        tests=RENDER,
    ),
    Mistake(
        id="refusal-removed",
        path="hooks/pre_gen_project.py",
        change=edit(in_function("problems", "len(text) > longest"), changes.never),
        tests=RENDER,
    ),
    Mistake("not-formatted", "P/wsgi.py", append("x  =  1\n"), DEFAULTS),
    Mistake(
        id="too-much-python",
        path="P/src/app/pages/home.py",
        change=append("X = 1\n" * 500),
        tests=BUDGETS,
    ),
    Mistake("template-only-file", "P/CHANGELOG.md", append("# make bump\n"), CONTENTS),
    Mistake("random", "hooks/post_gen_project.py", append("import random\n"), BUDGETS),
]


def copy_repository(target: Path) -> None:
    """Copy the files that git knows or would add, and commit them there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Copy"]):
        subprocess.run([*git, *command], cwd=target, check=True)


def run_tests(name: str, tests: str, change: Callable[[Path], object]) -> Result:
    """Make *change* in a copy of the repository and run the tests there."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "template"
        copy.mkdir()
        copy_repository(copy)
        change(copy)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "not slow and not drill",
            tests,
        ]
        return repeat_without_verdict(
            name,
            lambda: run_pytest(command, copy, failure=FAILED_OR_ERROR, minutes=MINUTES),
        )


def run_unchanged(tests: str) -> Result:
    return run_tests(tests, tests, lambda copy: None)


def verdict(mistake: Mistake) -> str:
    """Make one mistake in a copy of the repository, run its tests and judge them."""
    path = mistake.path.replace("P/", f"{PROJECT}/", 1)
    result = run_tests(
        mistake.id, mistake.tests, lambda copy: mistake.change(copy / path)
    )
    return result.verdict(mistake.id)
