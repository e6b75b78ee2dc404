"""``make bump`` moves what the template pins, and says what it could not reach."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE

SPEC = importlib.util.spec_from_file_location("bump", TEMPLATE / "maintenance/bump.py")
assert SPEC
assert SPEC.loader
bump = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bump)


@pytest.mark.parametrize(
    ("requirement", "newest", "expected"),
    [
        ('"flask>=3.1.3,<4"', "4.0.2", '"flask>=4.0.2,<5"'),
        ('"sqlalchemy>=2.1.9,<2.2"', "2.2.0", '"sqlalchemy>=2.2.0,<2.3"'),
        ('"logfire[flask]>=5.2,<6"', "5.9", '"logfire[flask]>=5.9,<6"'),
        ('"nh3>=0.3.8,<0.4"', "0.3.1", '"nh3>=0.3.8,<0.4"'),
        ('"pytest>=9.2,<10"', "9.2.0", '"pytest>=9.2,<10"'),
    ],
)
def test_bounds_move_up_and_stay_as_wide(requirement: str, newest: str, expected: str) -> None:
    assert bump.moved(bump.REQUIREMENT.fullmatch(requirement), newest) == expected


def test_everything_that_is_pinned_is_seen() -> None:
    project = bump.PROJECT / "pyproject.toml"
    bounded = re.findall(r'"[^"\n]+,<[^"\n]+"', project.read_text("utf-8"))
    assert len(bump.declared(project)) == len(bounded) > 15
    for folder in (bump.ROOT, bump.PROJECT):
        for path in (folder / ".github/workflows").glob("*.yml"):
            used = re.findall(r"uses: (?!\./).*", path.read_text("utf-8"))
            assert len(bump.ACTION.findall(path.read_text("utf-8"))) == len(used), path


def test_the_tested_versions_name_no_addresses_and_cover_every_dependency() -> None:
    text = bump.TESTED.read_text("utf-8")
    assert "://" not in text
    assert "--" not in text
    pinned = set(re.findall(r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE))
    wanted = {found["name"].lower() for found in bump.declared(bump.PROJECT / "pyproject.toml")}
    assert wanted <= pinned


@pytest.mark.slow
def test_an_old_bound_is_moved_and_an_unreachable_part_is_said(tmp_path: Path) -> None:
    copy = tmp_path / "template"
    ignored = (".git", ".venv", ".tools", ".demo", ".bench", ".drills", ".*_cache", "__pycache__")
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns(*ignored))
    project = copy / "{{cookiecutter.project_slug}}/pyproject.toml"
    now = re.findall(r'"nh3>=[^"]*"', project.read_text("utf-8"))[0]
    project.write_text(project.read_text("utf-8").replace(now, '"nh3>=0.2.1,<0.3"'), "utf-8")
    done = subprocess.run(
        [sys.executable, "maintenance/bump.py", "bounds", "actions"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GIT_ALLOW_PROTOCOL": "file"},
    )
    print(done.stdout, done.stderr)
    assert "bounds: " in done.stdout
    assert re.search(r'"nh3>=0\.[3-9][^"]*"', project.read_text("utf-8"))
    assert "actions: not moved; github.com/" in done.stdout
    assert done.returncode == 1
