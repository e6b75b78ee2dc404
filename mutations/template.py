"""Mistakes that a maintainer of the template can make: each is made once in a copy, and a test has to notice."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RENDER, CONTENTS = "tests/test_render.py", "tests/test_contents.py"
DEFAULTS = "tests/test_render.py::test_all_pairs_of_choices_render"
Change = Callable[[Path], object]


class Mistake(NamedTuple):
    """*change* is made to *path*, and *tests* must go red; in a path ``P`` is the folder that is rendered."""

    id: str
    path: str
    change: Change
    tests: str


def replaced(old: str, new: str) -> Change:
    def change(path: Path) -> None:
        text = path.read_text("utf-8")
        if old not in text:
            raise SystemExit(f"{old!r} is not in {path}")
        path.write_text(text.replace(old, new, 1), "utf-8")

    return change


def added(text: str) -> Change:
    return lambda path: path.write_text(path.read_text("utf-8") + text if path.exists() else text, "utf-8")


def crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


MISTAKES = [
    Mistake("file-dropped", "P/docs/runbook.md", Path.unlink, "tests/test_docs.py"),
    Mistake("module-dropped", "P/src/app/static/js/outbox.js", Path.unlink, "tests/test_contents.py"),
    Mistake("condition-broken", "P/LICENSE", replaced('== "MIT"', '== "mit"'), RENDER),
    Mistake("value-leaked", "P/src/app/pages/home.py", added('NAME = "{{ cookiecutter.project_name }}"\n'), DEFAULTS),
    Mistake("statement-leaked", "P/gunicorn.conf.py", added("# {% raw %}{% if x %}{% endraw %}\n"), DEFAULTS),
    Mistake("mode-wrong", "P/wsgi.py", lambda path: path.chmod(0o755), CONTENTS),
    Mistake("script-not-executable", "P/deploy/release", lambda path: path.chmod(0o644), CONTENTS),
    Mistake("line-endings", "P/Makefile", crlf, DEFAULTS),
    Mistake("workflow-rendered", "cookiecutter.json", replaced('    ".github/*",\n', ""), RENDER),
    Mistake("value-without-effect", "P/Dockerfile", replaced("{{ cookiecutter.python_version }}", "3.13"), RENDER),
    Mistake("file-unused", "P/forgotten.sh", added("exit 0\n"), CONTENTS),
    Mistake("module-unused", "P/src/app/forgotten_module.py", added("X = 1\n"), CONTENTS),
    Mistake("quote-not-escaped", "cookiecutter.json", replaced(""" | replace('\\"', '""", """ | replace('\\u0007', '"""), RENDER),
    Mistake("refusal-removed", "hooks/pre_gen_project.py", replaced("at most", "rather at most"), RENDER),
    Mistake("not-formatted", "P/wsgi.py", added("x  =  1\n"), DEFAULTS),
    Mistake("too-much-python", "P/src/app/pages/home.py", added("X = 1\n" * 500), "tests/test_budgets.py"),
    Mistake("template-only-file", "P/CHANGELOG.md", added("# make bump\n"), CONTENTS),
    Mistake("random", "hooks/post_gen_project.py", added("import random\n"), "tests/test_budgets.py"),
]  # fmt: skip


def verdict(mistake: Mistake) -> str:
    """Make one mistake in a copy of what is tracked here, run its tests, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "template"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Copy"]):
            subprocess.run([*git, *command], cwd=copy, check=True)
        mistake.change(copy / mistake.path.replace("P/", "{{cookiecutter.project_slug}}/"))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not drill"]
        result = subprocess.run([*command, mistake.tests], cwd=copy, capture_output=True, text=True, check=False)
    if found := re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE):
        return f"KILLED {mistake.id} {found[1]}"
    return f"SURVIVED {mistake.id}" + ("" if result.returncode == 0 else f" ({result.stdout[-400:]!r})")
