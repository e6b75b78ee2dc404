"""Text from outside becomes storable, bounded and safe to show or log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text import SurrogateJoiner, identifier, storable, storable_json, with_visible_escapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("nul\x00 escape\x1b return\r", "nul escape return"),
        ("\x85\x9f", ""),
        ("नमस्ते 日本語 עברית", "नमस्ते 日本語 עברית"),
    ],
)
def test_text_becomes_storable(text: str, expected: str) -> None:
    assert storable(text) == expected


ANY_TEXT = st.text(st.characters(), max_size=30)


@given(ANY_TEXT)
def test_storable_text_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    once = storable(text)
    assert storable(once) == once
    assert "\x00" not in once
    once.encode("utf-8")


@given(st.lists(ANY_TEXT, max_size=6))
def test_pieces_are_joined_as_the_whole_would_be(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    joined = "".join(map(joiner.feed, pieces)) + joiner.finish()
    assert joined == storable("".join(pieces))


def test_json_values_become_storable_with_their_keys() -> None:
    value = {"k\x00": ["\ud83d", {"n": 1, "deep": "\ud83d\ude00"}], "none": None}
    assert storable_json(value) == {"k": ["\ufffd", {"n": 1, "deep": "😀"}], "none": None}
    json.dumps(storable_json(value), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x" * 300, "x" * 119 + "…"), ("two\nlines\tand  spaces", "two lines and spaces"), ("a\u202eb\x00", "ab")],
)
def test_an_identifier_is_one_bounded_line(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_what_someone_decides_on_hides_nothing() -> None:
    assert with_visible_escapes("Vic\u200btim\u202e") == "Vic\\u200btim\\u202e"
    assert with_visible_escapes("\U000e0041") == "\\U000e0041"
