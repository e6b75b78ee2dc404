"""Every mutation has its place, its tests and its line in the documentation."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE

sys.path.insert(0, str(TEMPLATE / "mutations"))
from catalogue import ALL, GROUPS, Mutation
from places import PlaceError
from template import MISTAKES, Mistake

PROJECT = TEMPLATE / "{{cookiecutter.project_slug}}"


@pytest.mark.parametrize("mutation", ALL, ids=[mutation.id for mutation in ALL])
def test_the_place_of_a_mutation_exists_once(mutation: Mutation) -> None:
    path = PROJECT / "src/app" / mutation.path
    assert path.exists(), f"{mutation.id}: there is no {mutation.path}"
    source = path.read_bytes()
    try:
        changed = mutation.mutate(source)
    except PlaceError as error:
        pytest.fail(f"{mutation.id}: in {mutation.path}, {error}", pytrace=False)
    assert changed != source
    if path.suffix == ".py":
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutation", ALL, ids=[mutation.id for mutation in ALL])
def test_the_tests_of_a_mutation_exist(mutation: Mutation) -> None:
    file, _, rest = mutation.tests.partition(" ")
    path, _, function = file.partition("::")
    files = [PROJECT / "tests" / path, *(PROJECT / "tests/shapes").glob("*.py")]
    source = "".join(file.read_text("utf-8") for file in files)
    assert not function or f"def {function}(" in source, f"{mutation.id}: {function}"
    # Words of the option -k occur in names of functions, or in rows of tables.
    words = set(re.findall(r"\w+", rest)) - {"k", "or", "and", "not"}
    missing = [word for word in words if word.lower() not in source.lower()]
    assert missing == [], f"{mutation.id}: no test of {path} is named so"


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.id for mistake in MISTAKES])
def test_a_mistake_can_be_made(mistake: Mistake, tmp_path: Path) -> None:
    name = mistake.path.replace("P/", f"{PROJECT.name}/", 1)
    copy = tmp_path / Path(name).name
    if (TEMPLATE / name).exists():
        shutil.copy2(TEMPLATE / name, copy)
    mistake.change(copy)


def test_every_line_of_the_checklist_has_documented_mutations() -> None:
    assert list(GROUPS) == [f"S{number}" for number in range(1, 12)]
    ids = [mutation.id for mutation in ALL]
    assert len(ids) == len(set(ids))
    table = (TEMPLATE / "docs/mutations.md").read_text("utf-8").split("|---|---|")[1]
    rows = re.findall(r"^\| (S\d+) \| (.+) \|$", table, re.MULTILINE)
    documented = {line: re.findall(r"`([a-z0-9-]+)`", cell) for line, cell in rows}
    for line, mutations in GROUPS.items():
        assert documented[line] == [mutation.id for mutation in mutations]
