"""Every file of a render is used by something, and nothing that belongs to the template alone is rendered."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import TEMPLATE

# What a tool or a platform finds by its name, without any file naming it.
BY_NAME = {
    ".gitattributes": "git",
    ".gitignore": "git",
    ".dockerignore": "docker build",
    ".pre-commit-config.yaml": "pre-commit",
    "mypy.ini": "mypy",
    "ruff.toml": "ruff",
    "pyproject.toml": "uv",
    "LICENSE": "people",
    "README.md": "people",
    "Makefile": "make",
    "dependabot.yml": "GitHub",
    "biome.json": "biome",
    "conftest.py": "pytest",
    "kustomization.yaml": "kubectl -k",
    "script.py.mako": "alembic",
    "py.typed": "mypy",
}
BY_FOLDER = {
    "tests/": r"test_\w+\.py$",  # collected by pytest
    ".github/workflows/": r"\.yml$",  # run by GitHub
    "src/app/migrations/": r"\d+_\w+\.py$",  # walked by alembic
    "tests/golden/": r"\.json$",  # read as a folder by test_golden_rows.py
    "monitoring/logfire/": r"\.tf$",  # read as a folder by terraform
    "src/app/pages/": r"\w+\.py$",  # discovered by pages/__init__.py
    "src/app/templates/security/": r"\w+\.html$",  # replace those of Flask-Security, by their names
    "src/app/templates/settings/": r"\w+\.html$",  # sections of one page, included in order of their names
}


def unused(project: Path) -> list[str]:
    """Files that nothing in *project* names and no tool finds by convention."""
    paths = [path for path in project.rglob("*") if path.is_file()]
    texts = {path: path.read_text("utf-8", errors="replace") for path in paths if path.suffix not in (".png", ".webp")}
    orphans = []
    for path in paths:
        name = path.relative_to(project).as_posix()
        if path.name in BY_NAME or path.name == "__init__.py":
            continue
        if any(name.startswith(folder) and re.search(rule, name) for folder, rule in BY_FOLDER.items()):
            continue
        word = path.stem if path.suffix == ".py" else path.name
        pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
        if not any(pattern.search(text) for other, text in texts.items() if other != path):
            orphans.append(name)
    return orphans


def test_every_file_is_used(default_render: Path) -> None:
    assert unused(default_render) == []


def test_a_file_that_nothing_uses_is_noticed(default_render: Path, tmp_path: Path) -> None:
    (tmp_path / "src/app").mkdir(parents=True)
    (tmp_path / "src/app/orphaned_module.py").write_text("x = 1\n")
    (tmp_path / "forgotten.sh").write_text("exit 0\n")
    assert sorted(unused(tmp_path)) == ["forgotten.sh", "src/app/orphaned_module.py"]


def test_every_module_that_a_script_imports_is_there(default_render: Path) -> None:
    folder = default_render / "src/app/static/js"
    imported = {
        name for path in folder.glob("*.js") for name in re.findall(r'"app/([\w-]+\.js)"', path.read_text("utf-8"))
    }
    assert len(imported) > 5
    assert imported <= {path.name for path in folder.glob("*.js")}


def test_what_belongs_to_the_template_alone_is_not_rendered(default_render: Path) -> None:
    for word in ("cookiecutter.json", "make drills", "make mutations", "make bump", "make bench"):
        named = subprocess.run(
            ["grep", "-rIl", "--exclude-dir=docs", word, "."],
            cwd=default_render,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        assert named == [], f"{word} in {named}"
    for name in ("hooks", "benchmarks", "drills", "mutations", "CHANGELOG.md", "CONTRIBUTING.md"):
        assert not (default_render / name).exists(), name


def test_modes_are_those_of_the_repository(default_render: Path) -> None:
    """A script is executable, nothing else is."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "--", "{{cookiecutter.project_slug}}"],
        cwd=TEMPLATE, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    recorded = {line.split("\t")[1].partition("/")[2]: line[:6] for line in listed.splitlines()}
    for path in default_render.rglob("*"):
        if path.is_file():
            name = path.relative_to(default_render).as_posix()
            script = path.read_bytes()[:2] == b"#!"
            assert bool(path.stat().st_mode & 0o111) == script, f"{name}: mode and first line disagree"
            assert recorded.get(name, "100755" if script else "100644") == ("100755" if script else "100644"), name
