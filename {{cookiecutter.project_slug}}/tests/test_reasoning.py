"""Reasoning between tags is separated from the answer, whatever pieces it arrives in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.model.reasoning import TAGS, Kind, ReasoningSplitter

# The text of a response; the answer; the reasoning.
RESPONSES = {
    "a leading pair": ("<think>\nx</think>\n\nHello", "Hello", "\nx"),
    "whitespace before the tag": ("  \n<think>a</think>b", "b", "a"),
    "an empty pair": ("<think></think>Hi", "Hi", ""),
    "two pairs": ("<think></think>\n\n<think>z</think>Hi", "Hi", "z"),
    "upper case": ("<THINK>x</Think>y", "y", "x"),
    "a comparison in the reasoning": ("<think>if a < b</think>ok", "ok", "if a < b"),
    "never closed": ("<think>unclosed", "", "unclosed"),
    "half a tag after the pair": ("<think>a</think>\n<thi", "<thi", "a"),
    "a lone closing tag": ("so\nand so\n</think>\n\nYes", "Yes", "so\nand so\n"),
    "a lone closing tag at the end": ("so\n</think>", "", "so\n"),
    "a lone closing tag at the beginning": ("</think>\n\nHello", "Hello", ""),
    "a tag in a sentence": ("Use <think> here", "Use <think> here", ""),
    "a closing tag in a sentence": ("a </think> b", "a </think> b", ""),
    "a tag in inline code": ("`<think>` opens", "`<think>` opens", ""),
    "a pair in the text": ("So:\n<think>\nx\n</think>\nEnd", "So:\n<think>\nx\n</think>\nEnd", ""),
    "a fence": ("```\nx\n</think>\n```\nend", "```\nx\n</think>\n```\nend", ""),
    "a longer fence": ("````\n```\n</think>\n````\n", "````\n```\n</think>\n````\n", ""),
    "indented code": ("    </think>\ncode", "    </think>\ncode", ""),
    "another tag": ("<div>hi</div>", "<div>hi</div>", ""),
    "one character of a tag": ("<", "<", ""),
    "leading whitespace": ("  lead", "  lead", ""),
    "nothing": ("", "", ""),
}


def split(pieces: list[str]) -> tuple[str, str]:
    """The answer and the reasoning in the pieces of a response."""
    splitter = ReasoningSplitter()
    decided = [piece for text in pieces for piece in splitter.feed(text)]
    answer, reasoning = "", ""
    for piece in [*decided, *splitter.finish()]:
        if piece.kind is Kind.TEXT:
            answer += piece.text
        elif piece.kind is Kind.REASONING:
            reasoning += piece.text
        else:
            answer, reasoning = "", reasoning + answer
    return answer, reasoning


def cut(text: str, size: int) -> list[str]:
    return [text[begin : begin + size] for begin in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("name", RESPONSES)
def test_reasoning_is_found_whatever_the_pieces(name: str, size: int) -> None:
    text, answer, reasoning = RESPONSES[name]
    assert split(cut(text, size)) == (answer, reasoning)


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("opening", TAGS)
def test_every_pair_of_tags_is_known(opening: str, size: int) -> None:
    text = f"{opening}why{TAGS[opening]}because"
    assert split(cut(text, size)) == ("because", "why")


FRAGMENTS = st.sampled_from(["<think>", "</think>", "\n", "```", " ", "a", "<", "[THINK]", "</", "think>"])


@given(st.lists(FRAGMENTS, max_size=12).map("".join), st.integers(1, 5))
def test_pieces_make_no_difference(text: str, size: int) -> None:
    assert split(cut(text, size)) == split([text])


def test_ordinary_text_is_handed_on_at_once() -> None:
    splitter = ReasoningSplitter()
    assert [piece.text for piece in splitter.feed("Hello ")] == ["Hello "]
    assert [piece.text for piece in splitter.feed("world")] == ["world"]


def test_many_lone_tags_are_not_searched_for_again_and_again() -> None:
    """The work is linear: without the memory of what was found this takes minutes."""
    lines = "Look: <think>\n" + "</think>\n" * 20_000
    answer, reasoning = split([lines])
    assert (len(answer), reasoning) == (len(lines), "")
