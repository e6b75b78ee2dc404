"""Syntax highlighting of code in answers, for languages whose worst case is known.

A lexer runs regular expressions over untrusted text. With hostile input the time of
most grows with the square of its length or faster. For text that has the shape of code
it grows with the length alone, as far as a search for hostile input has found. Code of
any other shape, and code that is too long, is shown plain.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pygments.formatters import HtmlFormatter
    from pygments.lexer import Lexer

# Pygments' name of a language and the characters up to which code is highlighted; after
# it the milliseconds that the slowest code found takes then. They grow with the length,
# in lua and php with its square. Other languages are not highlighted: ini is as slow at
# 1,000 characters, and markdown may contain code of any language.
LONGEST = {
    "bash": 4_000,  # 24
    "c": 3_000,  # 32
    "cpp": 3_000,  # 37
    "csharp": 1_000,  # 38
    "css": 3_000,  # 32
    "diff": 8_000,  # 36
    "dockerfile": 2_500,  # 26
    "go": 7_000,  # 39
    "html": 4_000,  # 28
    "java": 2_500,  # 40
    "javascript": 6_000,  # 37
    "json": 10_000,  # 33
    "jsx": 3_000,  # 37
    "kotlin": 4_000,  # 31
    "lua": 3_000,  # 30
    "makefile": 3_500,  # 43
    "php": 2_000,  # 35
    "python": 4_000,  # 42
    "r": 2_000,  # 34
    "ruby": 3_000,  # 42
    "rust": 5_000,  # 39
    "sql": 8_000,  # 30
    "swift": 5_000,  # 31
    "toml": 10_000,  # 30
    "tsx": 3_500,  # 38
    "typescript": 4_000,  # 38
    "xml": 8_000,  # 43
    "yaml": 3_500,  # 26
}
ALIASES = {
    "c++": "cpp",
    "js": "javascript",
    "py": "python",
    "sh": "bash",
    "ts": "typescript",
    "yml": "yaml",
}

LONGEST_LINE = 200
# More white space, or words and dots without punctuation, than there is in code.
ENDLESS = re.compile(r"\s{100}|[\w\s.$@<>\[\]?]{300}")
# A lexer looks for the end of a comment from each beginning, also where none is left.
COMMENTS = {"/*": "*/", "<!--": "-->", "<?": "?>", "--[": "]", "<![": "]]>"}
MOST_OPEN_COMMENTS = 10
# It does the same with strings.
ESCAPED_QUOTE = re.compile(r"\\[\"'`]")
MOST_ESCAPED_QUOTES = 50
# In a shell string that does not end, each octal escape multiplies the time.
OCTAL_ESCAPE = re.compile(r"\\[0-7]")
MOST_OCTAL_ESCAPES = 8
ANY_SHAPE = {"json"}  # its lexer has no regular expressions


def highlight(code: str, language: str, attributes: str = "") -> str:
    """HTML of *code* with a span around each token; "" if it is to be shown plain."""
    name = ALIASES.get(language.lower(), language.lower())
    longest = LONGEST.get(name)
    if longest is None or len(code) > longest:
        return ""
    if name not in ANY_SHAPE and not _is_shaped_like_code(code):
        return ""
    from pygments import highlight as format_code

    return str(format_code(code, _lexer(name), _formatter()))


def _is_shaped_like_code(code: str) -> bool:
    if max(map(len, code.split("\n"))) > LONGEST_LINE or ENDLESS.search(code):
        return False
    for begin, end in COMMENTS.items():
        if code.count(begin, code.rfind(end) + 1) > MOST_OPEN_COMMENTS:
            return False
    if "$'" in code and len(OCTAL_ESCAPE.findall(code)) > MOST_OCTAL_ESCAPES:
        return False
    return len(ESCAPED_QUOTE.findall(code)) <= MOST_ESCAPED_QUOTES


@lru_cache
def _lexer(name: str) -> "Lexer":
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(name, stripnl=False, ensurenl=False)


@lru_cache
def _formatter() -> "HtmlFormatter[str]":
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(nowrap=True, classprefix="hl-")
