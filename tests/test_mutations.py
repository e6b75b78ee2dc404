"""The catalogue of mutations fits the sources and the documentation; `make mutations` runs it."""

from __future__ import annotations

import re
import sys

import pytest
from conftest import TEMPLATE

sys.path.insert(0, str(TEMPLATE / "mutations"))
from catalogue import ALL, GROUPS, Mutation

APP = TEMPLATE / "{{cookiecutter.project_slug}}/src/app"


@pytest.mark.parametrize("mutation", ALL, ids=[mutation.id for mutation in ALL])
def test_its_place_is_there_once(mutation: Mutation) -> None:
    assert (APP / mutation.path).read_text("utf-8").count(mutation.old) == 1


def test_every_security_line_has_some_and_the_ids_are_documented() -> None:
    assert list(GROUPS) == [f"S{number}" for number in range(1, 12)]
    ids = [mutation.id for mutation in ALL]
    assert len(ids) == len(set(ids))
    documented = re.findall(
        r"`([a-z0-9-]+)`", (TEMPLATE / "docs/mutations.md").read_text("utf-8").split("|---|---|")[1]
    )
    assert documented == ids
