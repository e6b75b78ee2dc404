"""Rendering takes time in proportion to the length of the text, whatever the text is.

The first tests count work, so they do not depend on the speed of the machine: lines of
Python for Markdown, and characters given to the parts that are bounded. Lexers work in
compiled regular expressions; they are compared with ordinary code of the same length.
"""

import html
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

import pytest

from app.security import highlighting, markdown
from app.security.highlighting import (
    ALIASES,
    ANY_SHAPE,
    LONGEST,
    LONGEST_LINE,
    highlight,
)
from app.security.markdown import (
    DEEPEST_LIST,
    DEEPEST_QUOTE,
    LONGEST_BLOCK,
    LONGEST_INLINE,
    MOST_MARKS,
    inert_source,
    render_markdown,
    split_blocks,
)

pytestmark = pytest.mark.one_engine

ORDINARY = (
    "## A heading\n\nSome *words* with `code` and [a link](https://example.com/a).\n\n"
    "- one item of a list\n- another **item**, a bit longer\n\n"
    "| name | value |\n| --- | --- |\n| width | 10 |\n| height | 20 |\n\n"
    "```py\nsome = code\n```\n\n"
)

# Repeated to the length wanted: text within one paragraph.
INLINE_UNITS = [
    *("![", "[", "[a", "](", "[](", "[a](", "![](", "[a](b", '[a](b "c', "[a](<b"),
    *("[a](b\\", "![a](b", "[a](()", "[a](((", "[a](%a", "[a](http://", "[](a)"),
    *("*a ", "a* ", "_a ", "**a", "a**", "*_", "_**", "**_", "*a_", "***a", "**a*b"),
    *("~~a", "a~~ ", "~~~a", "`", "``a`", "`` ` ", "<", "<a", "<a:b>", "<a@b", "<!--"),
    *("&", "&#", "&amp;", "\\", "\\*", "\\\n", "a\n", "a \n", "a  \n", "[[", "[]["),
    *("![[", "[*a", "*[a", "[`", "`[", "[<", "[\\", "*![", "[a]", "[![a](b)", "[[]()"),
    *("a", "\u00e9", "\u6f22", " ", " _a_", "[~~", "[a*", "![*", "|", "]", "a@b."),
]
# Repeated to the length wanted: blocks.
BLOCK_UNITS = [
    *("#\n", "# a\n", "a\n\n", "a\n=\n", "a\n-\n", "=\n", "---\n", "* * * ", "#"),
    *("-\n", "- a\n", "- a\n\n", "- a\n\n  b\n\n", "-\n*\n", "1. a\n2) b\n", "- "),
    *("# #", "* - + ", "- - - - - - - - a\n", "1. " * 20 + "a\n", "123456789. a\n"),
    "  - a\n    - b\n",
    *(">", "> ", ">\n\n", "> a\n\n", "> a\n- a\n", "> " * 20 + "a\n", "> - > - a\n"),
    *("|", "|\n", "|a|b\n", "|-|-|\n", "a|b\n-|-\n\n", "\\|", "|-", "a|b\n-|-\n# x\n"),
    *("```\n", "```a\n~~~~b\n", "```py\n```\n", "- ```\n", "> ```\n", "`````", "~~~~"),
    *("    a\n", "    a\n\n", "\t", "\ta\n", "\n", " \n", "   a\n", "a\n ", "\\\n"),
    *("[a]: b\n", "[a]:\n", "<div>\n", "<!--\n", '<a b="', "_ " * 40 + "a\n", "&a;\n"),
]


def repeated(unit: str, length: int, begin: str = "") -> str:
    return (begin + unit * (length // len(unit) + 1))[:length]


def deep_list(length: int) -> str:
    lines = ["  " * depth + "- a\n" for depth in range(int(length**0.5))]
    return "".join(lines)[:length]


def growing_backticks(length: int) -> str:
    runs = ["`" * size + "a" for size in range(1, int((2 * length) ** 0.5))]
    return "".join(runs)[:length]


def empty_cells(length: int) -> str:
    columns = length // 8
    return repeated("|\n", length, "|a" * columns + "\n" + "|-" * columns + "\n")


SHAPES: dict[str, Callable[[int], str]] = {
    **{f"inline {unit!r}": lambda n, u=unit: repeated(u, n) for unit in INLINE_UNITS},
    **{f"block {unit!r}": lambda n, u=unit: repeated(u, n) for unit in BLOCK_UNITS},
    "deep list": deep_list,
    "growing backticks": growing_backticks,
    "empty cells": empty_cells,
    "lines after a deep quote": lambda n: repeated("a\n", n, ">" * 60 + "a\n"),
    "lines after a deep list": lambda n: repeated("a\n", n, "- " * 60 + "a\n"),
    "emphasis in emphasis": lambda n: repeated("*a ", n // 2) + repeated("a* ", n // 2),
    "strong in strong": lambda n: repeated("**a ", n // 2) + repeated("a** ", n // 2),
    "images in images": lambda n: repeated("![", n // 2) + repeated("](b)", n // 2),
    "links in links": lambda n: repeated("[", n // 2) + repeated("](b)", n // 2),
    "info string": lambda n: repeated("&a;", n, "```") + "\nx",
    "address": lambda n: repeated("\u00e9.", n, "<http://") + ">",
    "title": lambda n: repeated("&amp;", n, '[a](b "') + '")',
}
each_shape = pytest.mark.parametrize("shape", SHAPES)


def lines_run(call: Callable[[str], object], text: str) -> int:
    """How many lines of Python *call* runs for *text*."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(text)
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(scope="module")
def ordinary_work() -> float:
    """Lines of Python for a character of ordinary text."""
    text = repeated(ORDINARY, 3000)
    render_markdown(text)  # loads the lexer
    return lines_run(render_markdown, text) / len(text)


@each_shape
def test_work_grows_no_faster_than_text(shape: str, ordinary_work: float) -> None:
    short = SHAPES[shape](500)
    long = SHAPES[shape](1000)
    work = lines_run(render_markdown, long)
    assert work <= 2.6 * lines_run(render_markdown, short) + 2000
    assert work <= 30 * ordinary_work * len(long)


@each_shape
def test_splitting_is_no_more_work(shape: str, ordinary_work: float) -> None:
    text = SHAPES[shape](500)
    assert lines_run(split_blocks, text) <= 30 * ordinary_work * len(text)


@each_shape
def test_making_source_inert_grows_no_faster_than_source(shape: str) -> None:
    short = SHAPES[shape](500)
    long = SHAPES[shape](1000)
    work = lines_run(inert_source, long)
    assert work <= 2.6 * lines_run(inert_source, short) + 2000


def visible(rendered: str) -> Counter[str]:
    """How often each character but white space is in the text that a reader sees."""
    text = html.unescape(re.sub("<[^>]*>", "", rendered))
    return Counter("".join(text.split()))


@pytest.fixture
def parsed_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that the inline parser is given."""
    lengths: list[int] = []
    parser = markdown._inline_parser.inline
    parse = parser.parse

    def counting(text: str, *arguments: object) -> object:
        lengths.append(len(text))
        return parse(text, *arguments)

    monkeypatch.setattr(parser, "parse", counting)
    return lengths


@pytest.mark.parametrize("unit", INLINE_UNITS)
def test_a_huge_paragraph_is_shown_unparsed(
    unit: str,
    parsed_lengths: list[int],
) -> None:
    text = "x" + repeated(unit, 60_000).replace("\n", " ")
    rendered = render_markdown(text)
    assert sum(parsed_lengths) == 0
    assert visible(rendered) == Counter("".join(text.split()))


def test_a_paragraph_up_to_the_bounds_is_parsed(parsed_lengths: list[int]) -> None:
    most = "*a* " * (MOST_MARKS // 2)
    assert render_markdown(most).count("<em>") == MOST_MARKS // 2
    assert "<em>" not in render_markdown(most + "*")
    longest = "*a* ".ljust(LONGEST_INLINE, "b")
    assert "<em>" in render_markdown(longest)
    assert "<em>" not in render_markdown(longest + "b")


@pytest.mark.parametrize("marker", [">", "> ", "- ", "1. ", "* - + ", "> - "])
def test_containers_nest_to_a_depth_and_deeper_markers_are_text(marker: str) -> None:
    text = marker * 200 + "the end"
    rendered = render_markdown(text)
    assert rendered.count("<blockquote>") <= DEEPEST_QUOTE
    assert rendered.count("<ul>") + rendered.count("<ol>") <= DEEPEST_LIST
    assert "the end" in rendered
    containers = len(re.findall("<(?:li|blockquote)>", rendered))
    markers = Counter("".join(text.split()))
    shown = visible(rendered)
    assert sum(markers.values()) - sum(shown.values()) <= 2 * containers


def test_a_table_has_no_more_cells_than_characters() -> None:
    for length in (2_000, 20_000):
        text = empty_cells(length)
        assert render_markdown(text).count("<t") <= len(text)


@pytest.mark.parametrize(
    "line",
    ["a\n", "- a\n", "> a\n", "- a\n\n", "|a|b|\n", "a" * 99],
)
def test_a_block_that_does_not_end_is_shown_as_it_is(line: str) -> None:
    begin = "|a|b|\n|-|-|\n" if "|" in line else ""
    text = repeated(line, 2 * LONGEST_BLOCK, begin)
    rendered = render_markdown(text + "\n\n# Next\n\nAnd *on*.\n")
    assert rendered.endswith("<h1>Next</h1>\n<p>And <em>on</em>.</p>\n")
    assert visible(rendered) == Counter("".join(text.split()) + "NextAndon.")


def test_a_code_block_may_be_longer_than_other_blocks() -> None:
    code = repeated("# a\n\n- b\n", 3 * LONGEST_BLOCK)
    rendered = render_markdown(f"Before\n\n```\n{code}\n```\nAfter *it*")
    assert rendered.count("<pre>") == 1
    assert rendered.endswith("</code></pre>\n<p>After <em>it</em></p>\n")


def test_source_that_is_too_long_or_too_deep_to_judge_becomes_code() -> None:
    too_deep = ["> " * 60 + "<b>", "- " * 60 + "<b>"]
    too_long = ["[" * 5000 + "<b>", "<b>\n" * 20_000]
    for text in too_deep + too_long:
        assert inert_source(text) == f"```text\n{text}\n```"


# The slowest code that a search found for the lexer of each language: how it begins,
# and what it repeats.
SLOWEST_CODE = {
    "bash": ("`", "a b\n"),
    "c": ("", "{{"),
    "cpp": ("", "{{"),
    "csharp": ("'", "a\n"),
    "css": ("<style>a{", "_"),
    "diff": ("", "F\n\n\n"),
    "dockerfile": ('f"', "a\n"),
    "go": ("(", "$a$"),
    "html": ("", "<style>${" + "_" * 80 + "}</style>\n"),
    "java": ("'''", "a\n"),
    "javascript": ("$((", "a?"),
    "json": ("", " 7\n"),
    "jsx": ('"""', "@"),
    "kotlin": ("`", "0"),
    "lua": ("${", "=["),
    "makefile": ('"', "1_"),
    "php": ('<?php\n"', "${"),
    "python": ("{", "a?"),
    "r": ('f"', "\u6f22"),
    "ruby": ("", " a"),
    "rust": ("{", "\u00e9"),
    "sql": ("'''", "\u6f22"),
    "swift": ("$((", "\u00e9"),
    "toml": ("<script>", "="),
    "tsx": ('"', "a?"),
    "typescript": ("", "a.b."),
    "xml": ("a/<a ", "8__N__"),
    "yaml": ("a: ", "D\n"),
}
ORDINARY_CODE = "def area(width, height):\n    return width * height  # no units\n\n\n"
each_language = pytest.mark.parametrize("language", LONGEST)


def shaped_like_code(text: str) -> str:
    """*text* with as much punctuation and as many line ends as code has at least."""
    text = re.sub(r"([\w\s.$@<>\[\]?]{290})", r"\1;", text)
    return re.sub(rf"([^\n]{{{LONGEST_LINE}}})", r"\1\n", text)


def slowest_code(language: str, length: int) -> str:
    begin, unit = SLOWEST_CODE[language]
    return shaped_like_code(repeated(unit, length, begin))[:length]


def seconds(code: str, language: str) -> float:
    """The shortest of some times, of this thread alone."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        assert highlight(code, language)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.fixture(scope="module")
def ordinary_seconds() -> float:
    """The time for a character of ordinary code."""
    length = LONGEST["python"]
    return seconds(repeated(ORDINARY_CODE, length), "python") / length


@each_language
def test_the_slowest_code_is_not_much_slower_than_ordinary_code(
    language: str,
    ordinary_seconds: float,
) -> None:
    longest = LONGEST[language]
    full = seconds(slowest_code(language, longest), language)
    half = seconds(slowest_code(language, longest // 2), language)
    assert full <= 5 * half
    assert full <= 25 * ordinary_seconds * longest


@pytest.fixture
def no_lexer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        pytest.fail(f"the lexer of {name} was given something")

    monkeypatch.setattr(highlighting, "_lexer", refuse)


@each_language
def test_longer_code_is_shown_plain(language: str, no_lexer: None) -> None:
    code = repeated(ORDINARY_CODE, LONGEST[language]) + "\n"
    rendered = render_markdown(f"```{language}\n{code}```")
    assert f'<pre><code class="language-{language}">def area' in rendered
    assert visible(rendered) == Counter("".join(code.split()))


@pytest.mark.parametrize(
    "code",
    [
        "x" * (LONGEST_LINE + 1),
        "x =" + " " * 100 + "1",
        "x\n" + "\n" * 100 + "y",
        "some words and more " * 15,
        "a.b\n" * 75,
        '"" /* ' * 11,
        "<!-- \n" * 11,
        "<? $x;\n" * 11,
        "--[[ (\n" * 11,
        'x = "' + '\\" + \\"\n' * 26,
        "$'" + r"\6-" * 9,
    ],
)
def test_code_of_an_unlikely_shape_is_shown_plain(code: str, no_lexer: None) -> None:
    languages = LONGEST.keys() - ANY_SHAPE
    assert {highlight(code, language) for language in languages} == {""}


@pytest.mark.parametrize("language", ["markdown", "md", "ini", "text", "", "brainfuck"])
def test_other_languages_are_shown_plain(language: str, no_lexer: None) -> None:
    assert highlight("x = 1\n", language) == ""


@pytest.mark.parametrize("language", [*LONGEST, *ALIASES])
def test_ordinary_code_is_highlighted(language: str) -> None:
    code = '+ <b title="x">a: 1</b>'
    rendered = render_markdown(f"```{language.upper()}\n{code}\n```")
    assert '<span class="hl-' in rendered


def test_huge_answers_that_held_the_loop_once_are_cheap(
    parsed_lengths: list[int],
    no_lexer: None,
) -> None:
    code = "```csharp\n" + "a\n" * 10_000 + "```\n\n"
    assert render_markdown(code + "![" * 100_000).count("<p>") == 1
    assert sum(parsed_lengths) == 0
