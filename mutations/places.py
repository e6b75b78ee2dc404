"""Name a place in a source file by its structure, so that formatting does not matter.

A place in a Python file is a scope and a pattern:

    in_function("production_problems", "len(key) < ___")

The pattern is Python. It is parsed and compared with the syntax tree of the function:
line breaks, quotes, parentheses and comments make no difference. In a pattern

- ``___`` is any expression, and any name of an attribute or a function;
- ``___name`` is the same, and the replacement may repeat it;
- ``*___`` is any number of arguments or elements, ``**___`` any number of further
  keyword arguments or entries of a dictionary (their order does not matter);
- ``___`` on a line of its own is any number of statements.

A second pattern is searched inside the place of the first. Every pattern has to match
exactly once; otherwise ``find`` raises a `PlaceError`.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

WILDCARD = "___"
# Fields of a node that say nothing about its meaning.
IGNORED_FIELDS = {"ctx", "kind", "type_comment"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Parents = tuple[ast.AST, ...]
Captured = dict[str, ast.AST]


class PlaceError(Exception):
    """A place does not exist, exists more than once, or cannot be changed that way."""


@dataclass(frozen=True)
class Found:
    """A place in a source: its range in bytes and, in a Python file, its node."""

    source: bytes
    begin: int
    end: int
    node: ast.AST | None = None
    parents: Parents = ()  # the nodes around it, the innermost first
    captured: Mapping[str, ast.AST] = field(default_factory=dict)


class Place(Protocol):
    def find(self, source: bytes) -> Found: ...


# Matching


def matches(pattern: ast.AST, node: ast.AST, captured: Captured) -> bool:
    """Whether *node* has the structure of *pattern*; fill *captured* by wildcard."""
    if isinstance(pattern, ast.Name) and pattern.id.startswith(WILDCARD):
        captured[pattern.id] = node
        return isinstance(node, ast.expr)
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Dict) and isinstance(node, ast.Dict):
        entries = _entries(pattern)
        return _match_unordered(entries, _entries(node), captured)
    for name in pattern._fields:
        expected = getattr(pattern, name, None)
        actual = getattr(node, name, None)
        if name not in IGNORED_FIELDS and not _match_value(expected, actual, captured):
            return False
    return True


def _match_value(pattern: object, value: object, captured: Captured) -> bool:
    """Compare one field of two nodes: a node, a list, a name or a constant."""
    if isinstance(pattern, ast.AST):
        return isinstance(value, ast.AST) and matches(pattern, value, captured)
    if isinstance(pattern, list) and isinstance(value, list):
        if any(isinstance(item, ast.keyword) for item in [*pattern, *value]):
            return _match_unordered(pattern, value, captured)
        return _match_list(pattern, value, captured)
    if pattern == WILDCARD:
        return isinstance(value, str)
    return type(pattern) is type(value) and pattern == value


def _match_list(
    patterns: list[ast.AST],
    values: list[ast.AST],
    captured: Captured,
) -> bool:
    if not patterns:
        return not values
    if _is_any_number(patterns[0]):
        ends = range(len(values) + 1)
        return any(_match_list(patterns[1:], values[end:], captured) for end in ends)
    if not values or not _match_value(patterns[0], values[0], captured):
        return False
    return _match_list(patterns[1:], values[1:], captured)


def _match_unordered(
    patterns: list[ast.keyword],
    values: list[ast.keyword],
    captured: Captured,
) -> bool:
    """Match every pattern with a value of its own, in any order."""
    required = [pattern for pattern in patterns if not _is_any_number(pattern)]
    rest = list(values)
    for pattern in required:
        candidates = (value for value in rest if matches(pattern, value, captured))
        value = next(candidates, None)
        if value is None:
            return False
        rest.remove(value)
    return not rest or len(required) < len(patterns)


def _is_any_number(pattern: ast.AST) -> bool:
    """Whether *pattern* is ``*___``, ``**___`` or the statement ``___``."""
    if isinstance(pattern, ast.keyword) and pattern.arg is not None:
        return False
    if not isinstance(pattern, ast.Starred | ast.Expr | ast.keyword):
        return False
    return isinstance(pattern.value, ast.Name) and pattern.value.id == WILDCARD


def _entries(dictionary: ast.Dict) -> list[ast.keyword]:
    """The entries as keyword arguments, which are matched in the same way."""
    entries = []
    for key, value in zip(dictionary.keys, dictionary.values, strict=True):
        entry = value if key is None else ast.Tuple([key, value], ast.Load())
        entries.append(ast.keyword(None if key is None else "entry", entry))
    return entries


# Python files


@dataclass(frozen=True)
class PythonPlace:
    """A pattern in a function, in a class, or anywhere in a module."""

    scope_type: tuple[type[ast.AST], ...]
    scope: str  # the qualified name, such as "Settings.load"; empty for the module
    patterns: tuple[str, ...]

    def find(self, source: bytes) -> Found:
        tree = ast.parse(source)
        node, parents = self._find_scope(tree)
        captured: Captured = {}
        for text in self.patterns:
            pattern = parse_pattern(text)
            found = [
                (inner, around)
                for inner, around in walk(node, parents)
                if matches(pattern, inner, {})
            ]
            if len(found) != 1:
                lines = [str(getattr(inner, "lineno", 0)) for inner, _ in found]
                where = f" (lines {', '.join(lines)})" if lines else ""
                raise PlaceError(f"{text!r} is {_times(found)} in {self}{where}")
            node, parents = found[0]
            matches(pattern, node, captured)
        if any(isinstance(parent, ast.JoinedStr) for parent in parents):
            raise PlaceError(f"{self.patterns[-1]!r} is inside an f-string: name that")
        begin, end = range_of(source, node)
        return Found(source, begin, end, node, parents, captured)

    def _find_scope(self, tree: ast.Module) -> tuple[ast.AST, Parents]:
        if not self.scope:
            return tree, ()
        found = [
            (node, parents)
            for node, parents in walk(tree, ())
            if isinstance(node, self.scope_type)
            and qualified_name(node, parents) == self.scope
        ]
        if len(found) != 1:
            raise PlaceError(f"{self} is {_times(found)} in the file")
        return found[0]

    def __str__(self) -> str:
        if not self.scope:
            return "the module"
        kind = "class" if ast.ClassDef in self.scope_type else "function"
        return f"{kind} {self.scope!r}"


def in_function(name: str, *patterns: str) -> PythonPlace:
    """A pattern in a function; its name is qualified, such as ``Class.method``."""
    return PythonPlace(FUNCTIONS, name, patterns)


def in_class(name: str, *patterns: str) -> PythonPlace:
    """A pattern in a class, or without a pattern the class itself."""
    return PythonPlace((ast.ClassDef,), name, patterns)


def in_module(*patterns: str) -> PythonPlace:
    """A pattern anywhere in the file."""
    return PythonPlace((ast.Module,), "", patterns)


def parse_pattern(text: str) -> ast.AST:
    """Parse one expression or one statement."""
    body = ast.parse(textwrap.dedent(text)).body
    if len(body) != 1:
        raise PlaceError(f"{text!r} is not one expression or statement")
    statement = body[0]
    return statement.value if isinstance(statement, ast.Expr) else statement


def walk(node: ast.AST, parents: Parents) -> Iterator[tuple[ast.AST, Parents]]:
    """Yield *node* and every node inside, each with the nodes around it."""
    yield node, parents
    for child in ast.iter_child_nodes(node):
        yield from walk(child, (node, *parents))


def qualified_name(node: ast.AST, parents: Parents) -> str:
    """The dotted name of a function or class within its module."""
    around = reversed((node, *parents))
    return ".".join(
        definition.name
        for definition in around
        if isinstance(definition, (*FUNCTIONS, ast.ClassDef))
    )


def range_of(source: bytes, node: ast.AST) -> tuple[int, int]:
    """Where *node* begins and ends, in bytes; decorators belong to it."""
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        line = decorators[0].lineno
        column = decorators[0].col_offset - len("@")
    else:
        line = getattr(node, "lineno", 1)
        column = getattr(node, "col_offset", 0)
    begin = _position(source, line, column)
    end_line = getattr(node, "end_lineno", 1)
    end = _position(source, end_line, getattr(node, "end_col_offset", 0))
    return begin, end


def _position(source: bytes, line: int, column: int) -> int:
    lines_before = source.split(b"\n")[: line - 1]
    return sum(len(text) + 1 for text in lines_before) + column


def _times(found: list[tuple[ast.AST, Parents]]) -> str:
    return "not there" if not found else f"there {len(found)} times"


# Other files


@dataclass(frozen=True)
class TomlPlace:
    """The value of a key, on one line; *table* is empty before the first table."""

    table: str
    key: str

    def find(self, source: bytes) -> Found:
        values = list(self._values(source))
        if len(values) != 1:
            raise PlaceError(
                f"key {self.key!r} is there {len(values)} times in table {self.table!r}"
            )
        begin, end = values[0]
        return Found(source, begin, end)

    def _values(self, source: bytes) -> Iterator[tuple[int, int]]:
        table = ""
        line_begin = 0
        key = re.compile(rf"\s*(\"?){re.escape(self.key)}\1\s*=\s*")
        for line in source.decode().splitlines(keepends=True):
            if header := re.match(r"\[+([^]]+)\]", line):
                table = header[1]
            elif table == self.table and (named := key.match(line)):
                begin = line_begin + len(named[0].encode())
                value = toml_value(line[named.end() :])
                yield begin, begin + len(value.encode())
            line_begin += len(line.encode())


def toml_value(text: str) -> str:
    """The value at the beginning of *text*, without the comment behind it."""
    ends = [match.start() for match in re.finditer("#|$", text)]
    for end in ends:
        value = text[:end].rstrip()
        try:
            tomllib.loads(f"value = {value}")
        except tomllib.TOMLDecodeError:
            continue  # the comment begins later, or the value goes on in the next line
        return value
    raise PlaceError(f"no value on one line: {text!r}")


def in_toml(table: str, key: str) -> TomlPlace:
    return TomlPlace(table, key)


@dataclass(frozen=True)
class TextPlace:
    """An exact text, for templates and other files that are neither Python nor TOML."""

    text: str

    def find(self, source: bytes) -> Found:
        text = self.text.encode()
        if source.count(text) != 1:
            raise PlaceError(f"{self.text!r} is there {source.count(text)} times")
        begin = source.index(text)
        return Found(source, begin, begin + len(text))


def in_text(text: str) -> TextPlace:
    return TextPlace(text)
