"""Every example of docs/extending.md works as written: checked, typed and tested in a fresh project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import render_into
from extending import steps
from projects import make, run

pytestmark = pytest.mark.slow


def test_every_example_works_as_written(tmp_path: Path) -> None:
    project = render_into(tmp_path)
    followed = steps(project)
    sections = {step.section for step in followed}
    extending = "A tool|A page|A setting|A job|A metric with an alert|A second agent|A provider"
    assert sections == set(extending.split("|"))
    for step in followed:
        step.follow(project)
    assert "No changes detected" in make(project, "check")
    own = [step.path for step in followed if step.path.startswith("tests/")]
    assert len(own) == len(sections)
    make(project, "setup")
    tests = [*own, "tests/test_access.py", "tests/test_settings.py"]
    said = run(project, ".venv/bin/python", "-m", "pytest", "-q", *tests)
    print(said[-400:])
    assert re.search(r"\b\d+ passed", said)
