"""Projects with other answers install, keep their own checks and some of their tests, and answer over HTTP."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import render_into
from projects import Visitor, make, pythons, run, served

pytestmark = pytest.mark.slow

PYTHONS = pythons()
TESTS = ["tests/test_settings.py", "tests/test_agent.py", "tests/test_responses.py"]


@dataclass(frozen=True)
class Preset:
    python: tuple[int, int]
    answers: dict[str, str]


PRESETS = {
    "anthropic on the oldest Python": Preset(
        min(PYTHONS), {"llm_provider": "anthropic", "license": "Proprietary", "project_name": "Zoë's “Helper”"}
    ),
    "a local model on the newest Python": Preset(
        max(PYTHONS), {"llm_provider": "openai-compatible", "license": "Apache-2.0", "project_slug": "local-model"}
    ),
}


def test_the_tested_versions_can_be_locked(tmp_path: Path) -> None:
    project = render_into(tmp_path)
    make(project, "setup")
    before = (project / "pyproject.toml").read_text("utf-8")
    tested = project / "tested-versions.txt"
    tested.write_text(
        re.sub(r"^blinker==.*$", "blinker==1.9.0", tested.read_text("utf-8"), flags=re.MULTILINE), "utf-8"
    )
    make(project, "tested")
    assert (project / "pyproject.toml").read_text("utf-8") == before
    locked = {
        package["name"]: package.get("version")
        for package in tomllib.loads((project / "uv.lock").read_text("utf-8"))["package"]
    }
    pinned = dict(re.findall(r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==(\S+)$", tested.read_text("utf-8"), re.MULTILINE))
    assert {name: locked[name] for name in pinned if name in locked} == {
        name: version for name, version in pinned.items() if name in locked
    }
    assert len(set(pinned) & set(locked)) > 50


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_installs_keeps_its_checks_and_tests_and_answers(tmp_path: Path, preset: Preset) -> None:
    project = render_into(tmp_path, **preset.answers)
    python = PYTHONS[preset.python]
    make(project, "setup", PYTHON=python)
    chosen = (project / ".venv/pyvenv.cfg").read_text("utf-8")
    assert f"version_info = {preset.python[0]}.{preset.python[1]}." in chosen
    assert "No changes detected" in make(project, "check", PYTHON=python)
    said = run(project, ".venv/bin/python", "-m", "pytest", "-q", "-n", "auto", *TESTS)
    assert re.search(r"\b\d+ passed", said)
    assert "skipped" not in said
    with served(project, PYTHON=python) as url:
        visitor = Visitor(url)
        visitor.sign_up()
        words, last = visitor.ask("count to 5")
        assert (words.split()[:2], last) == (["one", "two"], "done")
