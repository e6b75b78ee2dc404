"""Untrusted text becomes safe HTML, whole or piece by piece."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.chat.rendering import AnswerEvent, GrowingAnswer
from app.security import markdown
from app.security.markdown import clean_text, render_markdown, split_blocks

LINES = st.sampled_from(
    [
        "- a",
        "  b",
        "",
        "para",
        "text",
        "# h",
        "```py",
        "```",
        "x=1",
        "1. one",
        "2. two",
        "a | b",
        "---|---",
        "---",
        "> q",
    ]
    + ["    code", "* * *", "===", "[x]: http://e.example", "[x]", "  - n", "~~~", "**b**", "`c", "\u00a0", "\t", "a  "]
)
TEXTS = st.one_of(st.lists(LINES, max_size=14).map("\n".join), st.text(max_size=80))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** `code`", "<p><strong>bold</strong> <code>code</code></p>\n"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        ("![cat](https://evil.example/x.png)", "<p>cat</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("[x](/logout)", '<p><a rel="noopener noreferrer nofollow">x</a></p>\n'),
        (
            "[x](https://ok.example)",
            '<p><a href="https://ok.example" rel="noopener noreferrer nofollow">x</a></p>\n',
        ),
        ("[x]\n\n[x]: https://evil.example", "<p>[x]</p>\n<p>[x]: https://evil.example</p>\n"),
        ("```nolanguage\nx = 1\n```", '<pre><code class="language-nolanguage">x = 1\n</code></pre>\n'),
        (
            "```json\n[1]\n```",
            (
                '<pre><code class="language-json"><span class="hl-p">[</span><span class="hl-mi">1</span>'
                '<span class="hl-p">]</span>\n</code></pre>\n'
            ),
        ),
        (
            "```html\n<img src=x onerror=alert(1)>\n```",
            (
                '<pre><code class="language-html"><span class="hl-p">&lt;</span><span class="hl-nt">img</span> '
                '<span class="hl-na">src</span><span class="hl-o">=</span><span class="hl-s">x</span> '
                '<span class="hl-na">onerror</span><span class="hl-o">=</span><span class="hl-s">alert(1)</span>'
                '<span class="hl-p">&gt;</span>\n</code></pre>\n'
            ),
        ),
    ],
)
def test_markdown_becomes_safe_html(text: str, html: str) -> None:
    assert render_markdown(text) == html


@given(TEXTS)
def test_only_the_allowed_tags_and_attributes_ever_appear(text: str) -> None:
    html = str(render_markdown(text))
    tags = set(re.findall(r"</?([a-z0-9]+)", html))
    assert not tags & {"script", "img", "iframe", "style", "form", "input", "svg", "object", "meta", "base", "link"}
    assert not re.search(r"<[^>]*\s(on\w+|style|src|id)\s*=", html)


@given(TEXTS)
def test_invisible_characters_go_first_and_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert not re.search("[\u200b\u2060\u202e\ufeff\U000e0041\x00\x1b]", once)


@settings(max_examples=300)
@given(TEXTS, st.lists(st.integers(1, 6), min_size=1))
def test_closed_blocks_and_the_rest_equal_the_whole(text: str, sizes: list[int]) -> None:
    text = clean_text(text)
    closed, tail, position, turn = "", "", 0, 0
    while position < len(text):
        size = sizes[turn % len(sizes)]
        tail += text[position : position + size]
        position, turn = position + size, turn + 1
        blocks, tail = split_blocks(tail)
        closed += "".join(blocks)
    assert closed + str(render_markdown(tail)) == str(render_markdown(text))


@settings(max_examples=300)
@given(TEXTS, st.integers(1, 6), st.integers(1, 60))
def test_so_they_do_where_blocks_and_paragraphs_are_too_long(
    text: str,
    size: int,
    longest: int,
) -> None:
    text = clean_text(text)
    closed = ""
    tail = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markdown, "LONGEST_BLOCK", longest)
        patch.setattr(markdown, "LONGEST_INLINE", longest)
        patch.setattr(markdown, "MOST_MARKS", longest // 8)
        for begin in range(0, len(text), size):
            blocks, tail = split_blocks(tail + text[begin : begin + size])
            closed += "".join(blocks)
        assert closed + str(render_markdown(tail)) == str(render_markdown(text))


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_paragraph_closes_at_its_blank_line_but_a_list_may_go_on(end: str) -> None:
    assert split_blocks("One.\n\n" + end)[0] == ["<p>One.</p>\n"]
    assert split_blocks("- One.\n\n" + end)[0] == []
    assert split_blocks("```\nOne.\n\n" + end)[0] == []


def items_set_by(event: AnswerEvent | None) -> dict[int, str]:
    return dict(event.data.get("set", [])) if event else {}


@settings(max_examples=200)
@given(st.lists(TEXTS, max_size=6))
def test_a_growing_answer_shows_what_the_finished_one_shows(pieces: list[str]) -> None:
    growing, items = GrowingAnswer(uuid.uuid4()), {}
    for piece in pieces:
        growing.add_text(piece)
        items |= items_set_by(growing.publish())
    items |= items_set_by(growing.finish())
    assert "".join(items[number] for number in sorted(items)) == render_markdown("".join(pieces))
    assert sorted(items) == list(range(len(items)))


def test_what_came_in_a_pause_of_parsing_is_parsed_although_the_model_says_no_more() -> None:
    growing = GrowingAnswer(uuid.uuid4())
    growing.add_text("a **b")
    growing._parse_at = time.perf_counter() + 0.05
    growing.add_text("**\n\n")
    assert growing.publish() == ("text", {"append": "a **b**\n\n"})
    time.sleep(0.06)
    assert "<strong>b</strong>" in str(growing.publish())
    assert growing.publish() is None
