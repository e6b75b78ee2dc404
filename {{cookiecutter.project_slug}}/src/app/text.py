"""Makes text from outside storable, bounded and safe to show or log.

Models, tools, providers and users send whatever they like. PostgreSQL stores neither a
NUL nor a lone surrogate, JSON encoders refuse surrogates, and a control character can
forge a log line. Every such text passes through this module before anything else.
"""

import re
from typing import TypeAlias

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"

LONGEST_IDENTIFIER = 120  # characters; the width of the columns that hold one
REPLACEMENT = "\ufffd"
# NUL and other control characters except tab and newline, and surrogates.
_UNSTORABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Controls except tab and newline; format characters (zero width, bidirectional
# overrides, Unicode tags, soft hyphen), variation selectors beyond the emoji ones,
# surrogates, private use, noncharacters. The zero-width joiner and non-joiner stay:
# emoji and Persian need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d"
    "\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\ue000-\uf8ff"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)


def clean_text(text: str) -> str:
    """*text* without invisible characters.

    Works character by character, so cleaning pieces equals cleaning the whole.
    """
    return INVISIBLE.sub("", text)


def storable(text: str) -> str:
    """*text* that a database, JSON and a terminal accept.

    Surrogate pairs become the character they stand for, lone surrogates U+FFFD, and
    control characters except tab and newline are removed.
    """
    if not _UNSTORABLE.search(text):
        return text
    if _SURROGATE.search(text):
        encoded = text.encode("utf-16-le", "surrogatepass")
        text = encoded.decode("utf-16-le", "replace")
    return _CONTROL.sub("", text)


def storable_json(value: JSONValue) -> JSONValue:
    """A JSON value whose texts, keys included, are storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_json(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable_json(item) for key, item in value.items()}
    return value


def identifier(text: str, most: int = LONGEST_IDENTIFIER) -> str:
    """A name from outside as one bounded line, for a column or a log line."""
    line = " ".join(clean_text(storable(text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def with_visible_escapes(text: str) -> str:
    r"""*text* with each invisible character as an escape such as ``\u200b``.

    For texts that someone decides on: they have to see exactly what is there.
    """
    return INVISIBLE.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


class SurrogateJoiner:
    """Makes a text storable that arrives in pieces.

    A surrogate pair may be split over two pieces, so a high surrogate at the end of one
    waits for the next.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The storable text that is complete with *piece*."""
        text = self._held + piece
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held = text[-1]
            text = text[:-1]
        return storable(text)

    def finish(self) -> str:
        """What takes the place of a surrogate whose other half never came."""
        is_incomplete = self._held != ""
        self._held = ""
        return REPLACEMENT if is_incomplete else ""
