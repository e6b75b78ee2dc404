"""Payloads against the one sanitiser: none survives it, whole, repeated, or at any prefix of a stream."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from support import Event, Page, ScriptedModel, Visitor

from app.security.markdown import _sanitise, clean_text, render_markdown, split_blocks

pytestmark = pytest.mark.one_engine

FOLDER = Path(__file__).parent
FILES = ("markdown_attacks.json", "markdown_attacks_more.json")
ATTACKS: list[dict[str, Any]] = [item for name in FILES for item in json.loads((FOLDER / name).read_text("utf-8"))]
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=[item["id"] for item in ATTACKS])


def judge(attack: dict[str, Any], html: str) -> None:
    for pattern in attack["must_not_contain"]:
        assert not re.search(pattern, html, re.IGNORECASE), (pattern, html)


@each_attack
def test_nothing_of_it_survives_and_what_is_harmless_still_shows(attack: dict[str, Any]) -> None:
    html = str(render_markdown(attack["markdown"]))
    judge(attack, html)
    for text in attack["must_contain"]:
        assert text in html


@each_attack
def test_sanitising_twice_changes_nothing(attack: dict[str, Any]) -> None:
    html = render_markdown(attack["markdown"])
    assert _sanitise(html) == html
    assert clean_text(clean_text(attack["markdown"])) == clean_text(attack["markdown"])


@each_attack
def test_no_prefix_of_a_stream_shows_any_of_it(attack: dict[str, Any]) -> None:
    text = clean_text(attack["markdown"])
    for length in range(len(text) + 1):
        blocks, tail = split_blocks(text[:length])  # the tail is shown as text, never as markup
        judge(attack, "".join(blocks))
        judge(attack, str(render_markdown(text[:length])))
        assert Markup().join(blocks) + render_markdown(tail) == render_markdown(text[:length])


def test_none_of_it_survives_the_event_route(ada: Visitor, scripted: ScriptedModel) -> None:
    for number, attack in enumerate(ATTACKS):
        text = attack["markdown"]
        scripted.answer(*(text[i : i + 3] for i in range(0, len(text), 3)))
        ada = ada if number % 5 else Visitor.signed_in(ada.app, f"reader{number}@example.com")
        page = Page()
        for event in ada.read(ada.ask("Go on").events):
            assert isinstance(event, Event)
            page.take(event)
            judge(attack, page.html)
        assert page.ending is not None
        assert page.ending.kind == "done", attack["id"]
