"""Every answer renders into files that are valid as they are, or is refused with a reason."""

from __future__ import annotations

import ast
import filecmp
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import TEMPLATE, FailedHookException, Render, render_into

CHOICES = {
    name: values
    for name, values in json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8")).items()
    if isinstance(values, list) and not name.startswith("_")
}
PROMPTS = [
    "project_name",
    "project_slug",
    "description",
    "author_name",
    "author_email",
    "domain_name",
    "llm_provider",
    "license",
    "python_version",
]
RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))}
HOSTILE = {
    "quotes": 'The "best" bot\'s `home`',
    "backslashes": r"C:\new\table \u0041 \\server",
    "shell": "$HOME $(id) ${PATH} %PATH% ; rm -rf / #",
    "markup": "<script>alert(1)</script> & <b>bold</b> ]]>",
    "toml and yaml": "- a: [b, {c: 'd'}] = # x | > ! & * @ %",
    "emoji": "Robot 🤖👩‍👩‍👧 Zoë ß İstanbul 日本",
    "right to left": "עוזר שיחה مساعد",
    "200 characters": "Name " * 40,
}


def files_of(project: Path) -> list[Path]:
    return [path for path in project.rglob("*") if path.is_file()]


def check_statically(project: Path) -> None:
    """Whatever can be said about a render without installing it."""
    names = [str(path.relative_to(project)) for path in files_of(project)]
    assert len({name.casefold() for name in names}) == len(names), "names that differ in case only"
    for path in files_of(project):
        data = path.read_bytes()
        name = str(path.relative_to(project))
        assert len(name) <= 120, f"too long for a Windows checkout: {name}"
        assert not {part.split(".")[0].lower() for part in path.parts} & RESERVED, f"a device on Windows: {name}"
        assert re.fullmatch(r"[\w@+=.{}() -]+(/[\w@+=.{}() -]+)*", name), f"not a name for every system: {name}"
        if path.suffix == ".png":
            continue
        text = data.decode("utf-8")
        assert "\r" not in text, name
        assert "cookiecutter." not in text or name.startswith("docs/"), name
        assert "{%" not in text or path.suffix in (".html", ".mako") or name.startswith(("docs/", "src/")), name
        assert text == "" or text.endswith("\n"), name
        if path.suffix == ".py":
            ast.parse(text)
        elif path.suffix == ".json" and "templates/" not in name and path.name != "corrupt.json":
            json.loads(text)
        elif path.suffix == ".toml":
            tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            list(yaml.load_all(text, yaml.CSafeLoader))
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--no-cache", "--quiet", "."], cwd=project, check=True)
    subprocess.run([*ruff, "format", "--no-cache", "--check", "--quiet", "."], cwd=project, check=True)


def test_nine_questions_and_a_text_for_each() -> None:
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))
    assert [name for name in questions if not name.startswith("_")] == PROMPTS
    assert list(questions["__prompts__"]) == PROMPTS


def pairs() -> list[dict[str, str]]:
    """Answers in which every value of a question meets every value of each other one, in few renders."""
    names = list(CHOICES)
    missing = {
        frozenset({(a, x), (b, y)}) for a, b in itertools.combinations(names, 2) for x in CHOICES[a] for y in CHOICES[b]
    }
    everything = [dict(zip(names, values, strict=True)) for values in itertools.product(*CHOICES.values())]
    chosen = []
    while missing:
        best = max(
            everything,
            key=lambda answers: len(missing & {frozenset(p) for p in itertools.combinations(answers.items(), 2)}),
        )
        missing -= {frozenset(pair) for pair in itertools.combinations(best.items(), 2)}
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("answers", pairs(), ids=lambda answers: "-".join(answers.values()))
def test_all_pairs_of_choices_render(render: Render, answers: dict[str, str]) -> None:
    check_statically(render(**answers))


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_makes_a_difference(tmp_path: Path, name: str) -> None:
    renders = [render_into(tmp_path / value.replace("/", "-"), **{name: value}) for value in CHOICES[name]]
    contents = {tuple(path.read_bytes() for path in sorted(files_of(project))) for project in renders}
    assert len(contents) == len(renders)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [("MIT", "MIT License"), ("BSD-3-Clause", "Redistribution and use"), ("Apache-2.0", "Apache License"),
     ("Proprietary", "All rights reserved")],
)  # fmt: skip
def test_the_license_is_the_one_that_was_chosen(render: Render, chosen: str, words: str) -> None:
    assert words in (render(license=chosen) / "LICENSE").read_text("utf-8")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_render_and_are_read_as_they_were_written(render: Render, text: str) -> None:
    project = render(project_name=text, description=text, author_name=text)
    check_statically(project)
    data = json.loads((project / "src/app/project.json").read_text("utf-8"))
    assert (data["name"], data["description"]) == (text, text)
    package = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    assert (package["description"], package["authors"][0]["name"]) == (text, text)
    label = re.findall(r'^LABEL [\w.]+="(.*)"$', (project / "Dockerfile").read_text("utf-8"), re.MULTILINE)[0]
    assert re.sub(r'\\([\\"$])', r"\1", label) == text
    assert re.fullmatch(r"[a-z](-?[a-z0-9])+", project.name)


REFUSED = {
    "template syntax": ({"description": "{{ 7 * 7 }}"}, "description: template syntax"),
    "statement": ({"project_name": "{% raw %}"}, "project_name: template syntax"),
    "comment": ({"author_name": "{# hidden #}"}, "author_name: template syntax"),
    "line break": ({"project_name": "One\nTwo"}, "project_name: line breaks"),
    "direction override": ({"author_name": "Ada \u202egnp.exe"}, "author_name: line breaks, control and invisible"),
    "too long": ({"project_name": "x" * 201}, "project_name: at most 200"),
    "empty": ({"project_name": "  "}, "project_name: it is empty"),
    "slug with capitals": ({"project_slug": "Chat"}, "project_slug: 'Chat'"),
    "slug with a dot": ({"project_slug": "my.chat"}, "project_slug: 'my.chat'"),
    "slug that climbs": ({"project_slug": "../chat"}, "project_slug: '../chat'"),
    "slug with a digit first": ({"project_slug": "1chat"}, "project_slug: '1chat'"),
    "slug with two hyphens": ({"project_slug": "my--chat"}, "project_slug: 'my--chat'"),
    "slug of 41": ({"project_slug": "c" * 41}, "project_slug"),
    "slug of a dependency": ({"project_slug": "flask"}, "project_slug: 'flask' is the name of a package"),
    "address": ({"author_email": "ada at example"}, "author_email: not an address"),
    "address with a quote": ({"author_email": 'a"b@example.com'}, "author_email: not an address"),
    "domain": ({"domain_name": "https://example.com"}, "domain_name: not a domain"),
    "domain with an injection": ({"domain_name": 'x.com"\n'}, "domain_name: not a domain"),
}


@pytest.mark.parametrize(("answers", "reason"), REFUSED.values(), ids=REFUSED)
def test_bad_answers_are_refused_with_a_reason_and_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answers: dict[str, str], reason: str
) -> None:
    folder = tmp_path / "out" / "put"
    folder.mkdir(parents=True)
    with pytest.raises(FailedHookException):
        if any("\n" in answer for answer in answers.values()):
            render_into(folder, **answers)  # cannot be typed
        else:
            typed(folder, answers)
    said = capfd.readouterr().err
    assert reason in said
    assert "--replay" in said
    assert files_of(tmp_path / "out") == []


def typed(folder: Path, answers: dict[str, str]) -> Path:
    """Render with answers as someone types them: unlike those on the command line they are not rendered."""
    defaults = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))
    questions = {name: defaults[name][0] if name in CHOICES else defaults[name] for name in PROMPTS} | {
        "project_slug": "chat-assistant"
    }
    process = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--output-dir", str(folder), str(TEMPLATE)],
        input="\n".join((questions | answers)[name] if name not in CHOICES else "1" for name in PROMPTS) + "\n",
        text=True,
        env=os.environ,
        check=False,
    )
    if process.returncode:
        raise FailedHookException
    return folder / (questions | answers)["project_slug"]


def test_all_bad_answers_are_refused_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = {"project_name": "x" * 300, "project_slug": "A b", "author_email": "nobody", "domain_name": "no domain"}
    with pytest.raises(FailedHookException):
        render_into(tmp_path, **bad)
    said = capfd.readouterr().err
    assert all(f"{name}: " in said for name in bad)


def test_a_render_depends_on_the_answers_alone(tmp_path: Path) -> None:
    first, second = (render_into(tmp_path / name) for name in ("first", "second"))
    names = [str(path.relative_to(first)) for path in files_of(first)]
    assert names == [str(path.relative_to(second)) for path in files_of(second)]
    assert filecmp.cmpfiles(first, second, names, shallow=False)[1:] == ([], [])


def test_workflow_expressions_survive(default_render: Path) -> None:
    workflows = list((default_render / ".github/workflows").glob("*.yml"))
    assert workflows
    source = TEMPLATE / "{{cookiecutter.project_slug}}/.github/workflows"
    for path in workflows:
        assert path.read_bytes() == (source / path.name).read_bytes()


def test_no_secret_and_no_private_file_is_rendered(default_render: Path) -> None:
    assert not (default_render / ".env").exists()
    assert re.search(r"^SECRET_KEY=$", (default_render / ".env.example").read_text(), re.MULTILINE)


def test_the_slug_list_of_the_hook_is_the_list_of_dependencies(default_render: Path) -> None:
    project = tomllib.loads((default_render / "pyproject.toml").read_text("utf-8"))
    needed = sum(project["dependency-groups"].values(), project["project"]["dependencies"])
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in needed}
    hook = (TEMPLATE / "hooks/pre_gen_project.py").read_text("utf-8")
    taken = set(re.findall(r'TAKEN = """([^"]+)"""', hook)[0].split())
    assert taken - {"app"} == names


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((TEMPLATE / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["__template_version"] == version
    assert f"\n## {version}\n" in (TEMPLATE / "CHANGELOG.md").read_text("utf-8")
