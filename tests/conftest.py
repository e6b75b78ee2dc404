"""Rendered projects for the tests."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
Render = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cookiecutter keeps replays and its configuration at home; a test has its own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(home / "config.yaml"))
    (home / "config.yaml").write_text(f"replay_dir: {home / 'replay'}\ncookiecutters_dir: {home / 'templates'}\n")


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Renders with the defaults and the given answers, as typed at a prompt: they are not rendered themselves."""

    def render(**answers: str) -> Path:
        return render_into(tmp_path, **answers)

    return render


def render_into(folder: Path, **answers: str) -> Path:
    return Path(cookiecutter(str(TEMPLATE), no_input=True, output_dir=str(folder), extra_context=answers))


@pytest.fixture(scope="session")
def default_render(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all defaults; not to be changed."""
    return render_into(tmp_path_factory.mktemp("default"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each file covers, how many tests that are, and how long they took."""
    rows: dict[str, list[float]] = {}
    for report in [report for reports in terminalreporter.stats.values() for report in reports]:
        if isinstance(report, pytest.TestReport):
            row = rows.setdefault(report.location[0], [0, 0])
            row[0] += report.when == "call"
            row[1] += report.duration
    terminalreporter.section("what was covered")
    for name, (count, seconds) in sorted(rows.items()):
        docstring = ast.get_docstring(ast.parse((TEMPLATE / name).read_text("utf-8"))) or ""
        terminalreporter.write_line(f"{count:4.0f} tests {seconds:6.0f} s  {name}: {docstring.splitlines()[0]}")


__all__ = ["TEMPLATE", "FailedHookException", "Render", "render_into"]
