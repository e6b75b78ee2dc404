"""The one sanitiser: turns untrusted text into safe HTML, here and nowhere else.

Pure functions that need no application. Invisible characters are removed first, because
here they only serve to hide something in a tag or a link. Then markdown-it renders
without raw HTML, images or reference links. Then nh3 keeps an allow-list.

A time-out cannot interrupt a parser, so the input is bounded instead: the time grows in
proportion to the length of the text. What is beyond a bound is shown as plain text.
"""

import re
from collections.abc import Callable
from itertools import pairwise

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, list_block, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType
from markupsafe import Markup, escape

from app.security.highlighting import highlight
from app.text import clean_text

__all__ = ["clean_text", "inert_source", "render_markdown", "split_blocks"]

TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "span": {"class"},
    "ol": {"start"},
}
CLASSES = {
    "code": re.compile(r"language-[\w+#.-]{1,40}"),
    "span": re.compile(r"hl-[a-z][a-z0-9]{0,2}"),
}
SCHEMES = {"http", "https", "mailto"}
ABSOLUTE = re.compile(r"(https?://|mailto:)[^/]", re.IGNORECASE)

# Bounds of the input, far beyond ordinary answers. The template has a benchmark of what
# they cost, benchmarks/rendering_bounds.py.
LONGEST_BLOCK = 30_000  # characters; a fenced code block may be longer
LONGEST_INLINE = 20_000  # characters of one paragraph, heading or cell
MOST_MARKS = 1_000  # in one paragraph, heading or cell
DEEPEST_LIST = 6
DEEPEST_QUOTE = 3
DEEPEST_INLINE = 6  # brackets within brackets

LONGEST_SOURCE = 30_000  # characters of a message in an export
MOST_BRACKETS = 1_000  # in a message in an export

MAY_BE_ACTIVE = re.compile(r"<|\][(:]")  # HTML, links, images and their definitions
MARK = re.compile(r"[!\[*_~`<&\\]")  # may begin something else than text
# Possessive quantifiers (*+) do not try again with less, which would take long.
BLANK_LINES = re.compile(r"(?:[ \t]*+\n)*+")
FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)[^`|\n]*+\n")
# After a blank line, the beginning of something that goes on with no block before it.
FRESH_START = re.compile(r"\n[ \t]*+\n(?=[^\s>*+\-\d])")
MAY_GO_ON = ("bullet_list_open", "ordered_list_open", "code_block")

BlockRule = Callable[[StateBlock, int, int, bool], bool]


def _at_most_nested(rule: BlockRule, depth: int) -> BlockRule:
    """A rule for a container that begins no container deeper than *depth*.

    Each line of a quote is read again by each quote around it. Deeper markers are text.
    """
    name = rule.__name__

    def bounded(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
        outer = state.env.get(name, 0)
        if outer >= depth:
            if rule(state, begin, end, True):
                state.env["is_cut_off"] = True
            return False
        state.env[name] = outer + 1
        matched = rule(state, begin, end, silent)
        state.env[name] = outer
        return matched

    return bounded


def _table(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    if not silent and begin + 1 < end:
        delimiters = state.src[state.bMarks[begin + 1] : state.eMarks[begin + 1]]
        state.env["columns"] = delimiters.strip().strip("|").count("|") + 1
    return table(state, begin, end, silent)


def _short_row(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    """End a table before a row with fewer characters than the table has columns.

    Each row gets all cells, so a long header would make many cells of short rows.
    """
    if not silent or state.parentType != "table":
        return False
    length = state.eMarks[begin] - state.bMarks[begin] - state.tShift[begin]
    return length < int(state.env["columns"])


def _parse_inlines(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline":
            token.children = _inline_tokens(token.content, state.env)


def _inline_tokens(text: str, env: EnvType) -> list[Token]:
    is_plain = _inline_parser.inline.terminator_re.search(text) is None
    is_too_long = len(text) > LONGEST_INLINE or len(MARK.findall(text)) > MOST_MARKS
    if is_plain or is_too_long:
        return [Token("text", "", 0, content=text)] if text else []
    return _inline_parser.inline.parse(text, _inline_parser, env, [])


def _image_as_text(
    self: object,
    tokens: list[Token],
    index: int,
    options: object,
    env: object,
) -> str:
    # A browser would fetch an image without a click, and its address could carry what
    # the model knows.
    return str(escape(tokens[index].content))


# Blocks have one parser, the text within them another, with a depth of its own.
_parser = MarkdownIt("js-default", {"html": False, "highlight": highlight})
_parser.disable(["reference", "html_block"])
_parser.add_render_rule("image", _image_as_text)
_parser.core.ruler.at("inline", _parse_inlines)
_inline_parser = MarkdownIt("js-default", {"maxNesting": DEEPEST_INLINE})
_inline_parser.disable(["html_inline"])


def _bound_blocks(parser: MarkdownIt) -> None:
    """Replace the block rules whose time would not be in proportion to the text."""
    ends_paragraph = ["paragraph", "reference", "blockquote"]
    rules = parser.block.ruler
    rules.at(
        "blockquote",
        _at_most_nested(blockquote, DEEPEST_QUOTE),
        {"alt": [*ends_paragraph, "list"]},
    )
    rules.at(
        "list",
        _at_most_nested(list_block, DEEPEST_LIST),
        {"alt": ends_paragraph},
    )
    rules.at("table", _table, {"alt": ["paragraph", "reference"]})
    rules.push("short_row", _short_row, {"alt": ["blockquote"]})


_bound_blocks(_parser)


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return value if CLASSES[tag].fullmatch(value) else None
    if name == "href":  # a link within this site would act as its user
        return value if ABSOLUTE.match(value) else None
    return value


_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    url_schemes=SCHEMES,
    attribute_filter=_attribute,
    link_rel="noopener noreferrer nofollow",
)


def _sanitise(html: str) -> Markup:
    return Markup(_cleaner.clean(html))  # noqa: S704 (this is where HTML becomes safe)


def _plain(text: str) -> Markup:
    """A text that is not parsed, with its line breaks."""
    lines = str(escape(_without_blank_lines(text)))
    return _sanitise("<p>" + lines.replace("\n", "<br>\n") + "</p>\n")


def _without_blank_lines(text: str) -> str:
    return text[_skip_blank_lines(text) :].rstrip()


def _skip_blank_lines(text: str) -> int:
    blank = BLANK_LINES.match(text)
    return blank.end() if blank else 0


# What a viewer of exported files may understand: raw HTML, images, any address.
_permissive = MarkdownIt("commonmark", {"html": True})
_permissive.validateLink = lambda url: True  # type: ignore[method-assign]
_bound_blocks(_permissive)


def inert_source(text: str) -> str:
    """Untrusted Markdown as source that loads and runs nothing in whatever opens it.

    Harmless text stays as it is. Text that cannot be judged becomes a block of code.
    """
    text = clean_text(text)
    lines = _without_active_content(text)
    if lines is not None:
        return "\n".join(lines)
    longest_run = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}text\n{text}\n{fence}"


def _without_active_content(text: str) -> list[str] | None:
    """The lines of *text*, active ones escaped; None if some may still be active."""
    lines = text.split("\n")
    if not MAY_BE_ACTIVE.search(text):
        return lines
    if len(text) > LONGEST_SOURCE or text.count("[") > MOST_BRACKETS:
        return None
    for begin, end in _active_blocks(lines):
        for number in range(begin, end):
            line = lines[number].replace("<", "&lt;")
            lines[number] = line.replace("![", "!\\[").replace("](", "]\\(")
    return None if _active_blocks(lines) else lines


def _active_blocks(lines: list[str]) -> list[tuple[int, int]]:
    """The lines of blocks with raw HTML, images or links beyond the web and mail.

    All lines, if containers are nested too deep to be read.
    """
    env: dict[str, object] = {}
    blocks = _permissive.parse("\n".join(lines), env)
    if "is_cut_off" in env:
        return [(0, len(lines))]
    return [_lines_of(block) for block in blocks if _is_active(block)]


def _is_active(token: Token) -> bool:
    if token.type == "link_open":
        return not ABSOLUTE.match(str(token.attrs["href"]))
    if token.type in ("html_block", "html_inline", "image"):
        return True
    return any(map(_is_active, token.children or ()))


def render_markdown(text: str) -> Markup:
    """Safe HTML of untrusted Markdown."""
    blocks, rest = split_blocks(clean_text(text))
    if _window_end(rest) < len(rest):
        blocks.append(_plain(rest))
    else:
        blocks.append(_sanitise(_parser.render(rest)))
    return Markup("").join(blocks)


def split_blocks(text: str) -> tuple[list[Markup], str]:
    """Split the beginning of a growing text into closed blocks and an open tail.

    Returns:
        The safe HTML of each top-level block that no further character can change, and
        the rest of *text* as it is. Whatever follows, the joined blocks and
        ``render_markdown(tail + rest)`` equal ``render_markdown`` of it all: a line
        that begins a new top-level block ends the one before for good, and reference
        links are off. For the same reason a block is too long if it does not end
        within ``LONGEST_BLOCK`` characters, however much text there is.
    """
    blocks: list[Markup] = []
    while True:
        end = _window_end(text)
        closed, rest = _closed_blocks(text[:end])
        if closed:
            blocks += closed
            text = rest + text[end:]
            continue
        fresh_start = FRESH_START.search(text, end)
        if fresh_start is None:  # all was read, or a block that is too long goes on
            return blocks, text
        blocks.append(_plain(text[: fresh_start.end()]))
        text = text[fresh_start.end() :]


def _window_end(text: str) -> int:
    """Where the text ends in which the next block has to end."""
    begin = _skip_blank_lines(text)
    end = begin + LONGEST_BLOCK
    fence = FENCE.match(text, begin)
    if fence and end < len(text):
        marker = fence[1]
        closing = rf"^ {{0,3}}{marker[0]}{{{len(marker)},}}+[ \t]*+$"
        closing_fence = re.compile(closing, re.MULTILINE).search(text, fence.end())
        end = closing_fence.end() + LONGEST_BLOCK if closing_fence else len(text)
    return min(end, len(text))


def _closed_blocks(text: str) -> tuple[list[Markup], str]:
    complete = text.rfind("\n") + 1  # the meaning of an unfinished line is open
    env: dict[str, object] = {}
    tokens = _parser.parse(text[:complete], env)
    starts = [number for number, token in enumerate(tokens) if _begins_block(token)]
    lines = text.split("\n")
    if starts and _ended_by_blank_line(tokens[starts[-1]], lines):
        starts.append(len(tokens))
    blocks = [_render(tokens[begin:end], env) for begin, end in pairwise(starts)]
    if not blocks:
        return [], text
    if starts[-1] == len(tokens):
        first_open_line = _lines_of(tokens[starts[-2]])[1]
    else:
        first_open_line = _lines_of(tokens[starts[-1]])[0]
    return blocks, "\n".join(lines[first_open_line:])


def _begins_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0


def _render(tokens: list[Token], env: EnvType) -> Markup:
    return _sanitise(_parser.renderer.render(tokens, _parser.options, env))


def _lines_of(token: Token) -> tuple[int, int]:
    begin, end = token.map or (0, 0)
    return begin, end


def _ended_by_blank_line(token: Token, lines: list[str]) -> bool:
    # A list or indented code goes on after a blank line, an open fence contains it;
    # everything else ends there.
    after = _lines_of(token)[1]
    may_go_on = token.type in MAY_GO_ON
    return not may_go_on and after < len(lines) - 1 and not lines[after].strip(" \t")
