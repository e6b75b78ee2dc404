"""The one sanitiser: untrusted text, the model's and the user's alike, becomes safe HTML here and nowhere else.

Pure functions, no application needed. First invisible characters go, since hiding inside a tag or a link is all they
are good for here; then markdown-it renders without raw HTML, images or reference links; then nh3 keeps an allow-list.
"""

import re
from itertools import pairwise
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from app.config import read_table

ALLOWED = read_table(__file__, "markdown.toml")
ATTRIBUTES = {tag: set(names) for tag, names in ALLOWED["attributes"].items()}
MAY_GO_ON = ("bullet_list_open", "ordered_list_open", "code_block")
ABSOLUTE = re.compile(r"(https?://|mailto:)[^/]", re.IGNORECASE)
CLASSES = {"code": re.compile(r"language-[\w+#.-]{1,40}"), "span": re.compile(r"hl-[a-z][a-z0-9]{0,2}")}
# Controls but tab and newline; format characters (zero width, bidirectional overrides, Unicode tags, soft hyphen),
# variation selectors beyond the emoji ones, surrogates, private use, noncharacters. The zero-width joiner and
# non-joiner stay: emoji and Persian need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\ue000-\uf8ff"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)


def clean_text(text: str) -> str:
    """*text* without invisible characters. Character by character, so cleaning pieces equals cleaning the whole."""
    return INVISIBLE.sub("", text)


def _image_as_text(self: object, tokens: list[Token], index: int, options: object, env: object) -> str:
    # An image would be fetched without a click and could carry what the model knows in its address.
    return str(Markup.escape(tokens[index].content))


def _highlight(code: str, language: str, attributes: str) -> str:
    # Spans with class names; an empty string leaves the code as it is.
    if language.lower() not in ALLOWED["languages"].split() or len(code) > ALLOWED["most_highlighted"]:
        return ""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="hl-")))


_parser = MarkdownIt("js-default", {"html": False, "linkify": False, "highlight": _highlight})
_parser.disable(["reference", "html_block", "html_inline"])
_parser.add_render_rule("image", _image_as_text)


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return value if CLASSES[tag].fullmatch(value) else None
    if name == "href":  # a link within this site would act as its user
        return value if ABSOLUTE.match(value) else None
    return value


_kept: Any = {"tags": set(ALLOWED["tags"].split()), "attributes": ATTRIBUTES, "url_schemes": set(ALLOWED["schemes"])}
_cleaner = nh3.Cleaner(**_kept, attribute_filter=_attribute, link_rel="noopener noreferrer nofollow")


def _sanitise(html: str) -> Markup:
    return Markup(_cleaner.clean(html))  # noqa: S704 (this is where HTML becomes safe)


def render_markdown(text: str) -> Markup:
    """Safe HTML of untrusted Markdown."""
    return _sanitise(_parser.render(clean_text(text)))


# What a viewer of exported files may understand: raw HTML, images, any address.
_permissive = MarkdownIt("commonmark", {"html": True})
_permissive.validateLink = lambda url: True  # type: ignore[method-assign]


def inert_source(text: str) -> str:
    """Untrusted Markdown as source that loads and runs nothing in whatever opens it; harmless text stays as it is."""
    lines = clean_text(text).split("\n")
    for begin, end in _active(lines):
        for number in range(begin, end):
            lines[number] = lines[number].replace("<", "&lt;").replace("![", "!\\[").replace("](", "]\\(")
    if not _active(lines):
        return "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "\n".join([f"{fence}text", *lines, fence])


def _active(lines: list[str]) -> list[tuple[int, int]]:
    """The line ranges of blocks with raw HTML, images or links to anything but the web and mail."""

    def active(token: Token) -> bool:
        elsewhere = token.type == "link_open" and not ABSOLUTE.match(str(token.attrs["href"]))
        return elsewhere or token.type in ("html_block", "html_inline", "image")

    blocks = _permissive.parse("\n".join(lines))
    return [_lines_of(block) for block in blocks if any(map(active, (block, *(block.children or ()))))]


def split_blocks(text: str) -> tuple[list[Markup], str]:
    """Split the beginning of a text that still grows into closed blocks and an open tail.

    Returns:
        The safe HTML of each top-level block that no further character can change, and the rest of *text* as it is.
        Whatever follows, the joined blocks and ``render_markdown(tail + rest)`` equal ``render_markdown`` of it all:
        a line that begins a new top-level block ends the one before for good, and reference links are off.
    """
    complete = text.rfind("\n") + 1  # the meaning of an unfinished line is open
    env: dict[str, object] = {}
    tokens = _parser.parse(text[:complete], env)
    starts = [i for i, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
    lines = text.split("\n")
    if starts and _ended_by_blank_line(tokens[starts[-1]], lines):
        starts.append(len(tokens))
    pieces = (_parser.renderer.render(tokens[begin:end], _parser.options, env) for begin, end in pairwise(starts))
    blocks = [*map(_sanitise, pieces)]
    if not blocks:
        return [], text
    all_closed = starts[-1] == len(tokens)
    first_open = _lines_of(tokens[starts[-2]])[1] if all_closed else _lines_of(tokens[starts[-1]])[0]
    return blocks, "\n".join(lines[first_open:])


def _lines_of(token: Token) -> tuple[int, int]:
    begin, end = token.map or (0, 0)
    return begin, end


def _ended_by_blank_line(token: Token, lines: list[str]) -> bool:
    # A list or indented code goes on after a blank line, an open fence contains it; everything else ends there.
    after = _lines_of(token)[1]
    return token.type not in MAY_GO_ON and after < len(lines) - 1 and not lines[after].strip(" \t")
