"""Separates reasoning that a model writes between tags from its answer.

Some models and servers send reasoning as ordinary text: ``<think>...</think>`` and then
the answer. Only the beginning of a response is looked at: anywhere else, and in code, a
tag is text, since an answer may be about such tags. Servers that put the opening tag
into the prompt send a lone closing tag; on a line of its own it says that everything
shown before it was reasoning.
"""

import re
from enum import Enum, auto
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

# Opening and closing tags, in lower case, as models and chat templates write them.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
}
OPENING_TAGS = tuple(TAGS)
CLOSING_TAGS = tuple(TAGS.values())
_OPENING_OF = {closing: opening for opening, closing in TAGS.items()}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_LONGEST_HEAD = 80  # characters of a line that decide what it is


class Kind(Enum):
    """What a piece of a response is."""

    TEXT = auto()
    REASONING = auto()
    TEXT_WAS_REASONING = auto()  # all text of this response so far


class Piece(NamedTuple):
    """A piece of a response; ``text`` is empty for TEXT_WAS_REASONING."""

    kind: Kind
    text: str = ""


class ReasoningSplitter:
    """Splits the text of one model response, whatever pieces it arrives in.

    Text that may begin a tag is held back until it is decided.
    """

    def __init__(self) -> None:
        self._state = self._leading
        self._held = ""
        self._closing = ""  # the tag that ends the reasoning
        self._strip_leading = False  # whitespace between the reasoning and the answer
        self._shown: list[str] = []  # the text so far
        self._line_head = ""  # the beginning of the present line
        self._fence = ""  # the marker of an open code fence
        self._openings_in_text: set[str] = set()  # spares searching the text again

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are decided with *text*."""
        pieces: list[Piece] = []
        self._held += text
        while self._held:
            state = self._state
            self._state(pieces)
            if self._state == state:
                break
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, at the end of the response."""
        rest = self._held
        self._held = ""
        if self._state == self._reasoning:
            return [Piece(Kind.REASONING, rest)] if rest else []
        if self._state == self._leading:
            stripped = rest.strip()
            if stripped.lower() in CLOSING_TAGS:
                return []
            return _text(stripped if self._strip_leading else rest)
        if self._is_lone_closing_tag(self._line_head + rest):
            return [Piece(Kind.TEXT_WAS_REASONING)]
        return _text(rest)

    def _leading(self, pieces: list[Piece]) -> None:
        """At the beginning, or after reasoning: does a tag begin here?"""
        begin = self._held.lstrip()
        lowered = begin.lower()
        opening = _tag_at(lowered, OPENING_TAGS)
        indentation = self._held.removesuffix(begin)
        is_code = indentation.endswith("    ")
        closing = "" if is_code else _tag_at(lowered, CLOSING_TAGS)
        if opening:
            self._held = begin[len(opening) :]
            self._closing = TAGS[opening]
            self._state = self._reasoning
        elif closing:  # the server kept the opening tag, and there was no reasoning
            self._held = begin[len(closing) :]
            self._strip_leading = True
            self._leading(pieces)
        elif begin and not _may_become(lowered, (*OPENING_TAGS, *CLOSING_TAGS)):
            if self._strip_leading:
                self._held = begin
            self._state = self._answering

    def _reasoning(self, pieces: list[Piece]) -> None:
        """Inside the tags, until the closing one."""
        end = self._held.lower().find(self._closing)
        if end < 0:
            kept = _possible_beginning(self._held.lower(), self._closing)
            end = len(self._held) - kept
            rest = self._held[end:]
        else:
            rest = self._held[end + len(self._closing) :]
            self._strip_leading = True
            self._state = self._leading
        decided = self._held[:end]
        self._held = rest
        if decided:
            pieces.append(Piece(Kind.REASONING, decided))

    def _answering(self, pieces: list[Piece]) -> None:
        """In the answer, line by line: is one of them a lone closing tag?"""
        *complete, last = self._held.split("\n")
        self._held = ""
        for line in complete:
            self._end_line(line, pieces)
        if self._may_be_lone_closing_tag(self._line_head + last):
            self._held = last
        else:
            self._show(last, pieces)
            self._line_head = self._head_with(last)
        pieces[:] = _merged(pieces)

    def _head_with(self, text: str) -> str:
        """The beginning of the present line, with *text* after what has come of it."""
        head = self._line_head + text[:_LONGEST_HEAD]
        return head[:_LONGEST_HEAD]

    def _end_line(self, line: str, pieces: list[Piece]) -> None:
        whole_head = self._head_with(line)
        self._line_head = ""
        if self._is_lone_closing_tag(whole_head):
            self._shown.clear()
            self._strip_leading = True
            pieces.append(Piece(Kind.TEXT_WAS_REASONING))
            return
        self._follow_fence(whole_head)
        self._show(line + "\n", pieces)

    def _show(self, text: str, pieces: list[Piece]) -> None:
        if self._strip_leading and not self._shown:
            text = text.lstrip()  # the answer begins after what was reasoning
        if text:
            self._shown.append(text)
            pieces.append(Piece(Kind.TEXT, text))

    def _follow_fence(self, line: str) -> None:
        found = _FENCE.match(line)
        if not found:
            return
        marker, rest = found.groups()
        if not self._fence:
            self._fence = marker
        elif marker.startswith(self._fence) and not rest.strip():
            self._fence = ""

    def _may_be_lone_closing_tag(self, line: str) -> bool:
        tag = line.strip().lower()
        is_code = bool(self._fence) or line.startswith("    ")
        if not tag or is_code:
            return False
        return tag in CLOSING_TAGS or _may_become(tag, CLOSING_TAGS)

    def _is_lone_closing_tag(self, line: str) -> bool:
        tag = line.strip().lower()
        if tag not in _OPENING_OF or not self._may_be_lone_closing_tag(line):
            return False
        # With its opening tag in the text, the pair is what the answer is about.
        opening = _OPENING_OF[tag]
        if opening in self._openings_in_text:
            return False
        shown = "".join(self._shown)
        if opening not in shown.lower():
            return True
        self._openings_in_text.add(opening)
        return False


def _text(text: str) -> list[Piece]:
    return [Piece(Kind.TEXT, text)] if text else []


def _tag_at(lowered: str, tags: tuple[str, ...]) -> str:
    for tag in tags:
        if lowered.startswith(tag):
            return tag
    return ""


def _may_become(lowered: str, tags: tuple[str, ...]) -> bool:
    """Whether *lowered* is the beginning of a tag, but not yet the whole of it."""
    return any(tag.startswith(lowered) and tag != lowered for tag in tags)


def _possible_beginning(lowered: str, tag: str) -> int:
    """How many characters at the end of *lowered* may begin *tag*."""
    longest = min(len(tag) - 1, len(lowered))
    for length in range(longest, 0, -1):
        if tag.startswith(lowered[-length:]):
            return length
    return 0


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring texts joined, so that one delta of many lines is one piece."""
    merged: list[Piece] = []
    for kind, group in groupby(pieces, key=attrgetter("kind")):
        if kind is Kind.TEXT:
            text = "".join(piece.text for piece in group)
            merged.append(Piece(kind, text))
        else:
            merged.extend(group)
    return merged
