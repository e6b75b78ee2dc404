"""What the documents cite exists, and what they list is complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from conftest import TEMPLATE

PAGES = [
    *TEMPLATE.glob("*.md"),
    *TEMPLATE.glob("docs/*.md"),
    *TEMPLATE.glob("benchmarks/*.md"),
    *TEMPLATE.glob("{{cookiecutter.project_slug}}/*.md"),
    *TEMPLATE.glob("{{cookiecutter.project_slug}}/*/**/*.md"),
]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(
        (TEMPLATE / "{{cookiecutter.project_slug}}/pyproject.toml")
        .read_text("utf-8")
        .replace("{{", "")
        .replace("}}", "")
    )["project"]
    needed = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in project["dependencies"]}
    rows = re.findall(r"^\| ([a-z0-9-]+) \|", (TEMPLATE / "docs/dependencies.md").read_text("utf-8"), re.MULTILINE)
    assert set(rows) - {"package", "---"} == needed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TEMPLATE)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        titles = [
            re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        ]
        assert anchor in titles


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "extending.md"],  # names files that its reader makes
    ids=lambda page: str(page.relative_to(TEMPLATE)),
)
def test_every_test_and_path_a_page_cites_exists(page: Path) -> None:
    roots = [TEMPLATE, TEMPLATE / "{{cookiecutter.project_slug}}", page.parent]
    pattern = r"`((?:src|tests|deploy|monitoring|docs|benchmarks|drills)/[\w./-]+?\.\w+)(?:::(\w+))?`"
    for path, test in re.findall(pattern, page.read_text("utf-8")):
        found = [root / path for root in roots if (root / path).exists()]
        assert found, path
        if test:
            assert any(f"def {test}(" in file.read_text("utf-8") for file in found), f"{path}::{test}"
