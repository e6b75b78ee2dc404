"""Counts Python code: tokens, statements and lines that hold code.

A statement is one logical line. Comments, docstrings, indentation and line ends do not
count. An f-string is one token; a string over several lines is one token for each line it adds.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = 88  # the formatter's default
# Folders whose code belongs to nobody's budget.
LEFT_OUT = {"tests", "migrations", ".venv", ".tools", "node_modules"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WITH_DOCSTRING = (ast.Module, ast.ClassDef, *FUNCTIONS)
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
# Since Python 3.12 an f-string is several tokens between these two.
FSTRING_START = getattr(tokenize, "FSTRING_START", None)
FSTRING_END = getattr(tokenize, "FSTRING_END", None)


@dataclass
class Statement:
    """One logical line: its tokens, and its physical lines that hold code."""

    tokens: int = 0
    lines: set[int] = field(default_factory=set)

    def add(self, token: tokenize.TokenInfo) -> None:
        lines = set(range(token.start[0], token.end[0] + 1))
        if token.type == tokenize.STRING and len(lines) > 1:
            self.tokens += len(lines - self.lines)
        else:
            self.tokens += 1
        self.lines |= lines


@dataclass(repr=False)  # it would fill the screen
class CodeSize:
    """The figures of some Python files together."""

    statements: list[int] = field(default_factory=list)  # the tokens of each
    unrelated_tuples: int = 0
    wide_lines: int = 0
    explicit_any: int = 0
    file_lines: dict[str, int] = field(default_factory=dict)
    function_lines: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(self.statements)

    @property
    def mean(self) -> float:
        """Tokens per statement, on average."""
        return round(self.tokens / len(self.statements), 2)

    @property
    def percentile_90(self) -> int:
        """Nine of ten statements have at most this many tokens."""
        return sorted(self.statements)[int(len(self.statements) * 0.9)]

    @property
    def tuples(self) -> float:
        """Assignments of unrelated values, per 1,000 statements."""
        return round(1000 * self.unrelated_tuples / len(self.statements), 1)

    @property
    def longest_file(self) -> int:
        return max(self.file_lines.values())

    @property
    def longest_function(self) -> int:
        return max(self.function_lines.values(), default=0)

    def add(self, name: str, text: str) -> None:
        """Count one file."""
        tree = ast.parse(text)
        docstrings = docstring_lines(tree)
        lines_with_code: set[int] = set()
        for statement in statements(text, docstrings):
            self.statements.append(statement.tokens)
            lines_with_code |= statement.lines
        self.file_lines[name] = len(lines_with_code)
        self.wide_lines += sum(len(line) > COLUMNS for line in text.splitlines())
        self.explicit_any += uses_of_any(text, tree, docstrings)
        for node in ast.walk(tree):
            self.unrelated_tuples += is_unrelated_tuple(node)
            if isinstance(node, FUNCTIONS):
                lines = lines_with_code & lines_of(node)
                self.function_lines[f"{name}:{node.lineno} {node.name}"] = len(lines)


def size_of(files: Iterable[Path]) -> CodeSize:
    size = CodeSize()
    for path in files:
        size.add(str(path), path.read_text("utf-8"))
    return size


def python_files(folder: Path) -> list[Path]:
    """The Python files below *folder*, without tests and migrations."""
    files = []
    for path in sorted(folder.rglob("*.py")):
        folders = path.relative_to(folder).parts[:-1]
        if not LEFT_OUT.intersection(folders):
            files.append(path)
    return files


def lines_of(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, WITH_DOCSTRING):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            lines |= lines_of(node.body[0])
    return lines


def statements(text: str, docstrings: set[int]) -> Iterator[Statement]:
    """Yield every statement but docstrings."""
    statement = Statement()
    for token in whole_strings(tokenize.generate_tokens(io.StringIO(text).readline)):
        if token.type == tokenize.NEWLINE:
            if statement.tokens:
                yield statement
            statement = Statement()
        elif token.type not in NOT_CODE and token.start[0] not in docstrings:
            statement.add(token)


def whole_strings(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[tokenize.TokenInfo]:
    """Join the parts of an f-string to one token, as Python 3.11 does."""
    depth = 0
    start: tokenize.TokenInfo | None = None
    for token in tokens:
        if token.type == FSTRING_START:
            start = start if depth else token
            depth += 1
        elif token.type == FSTRING_END:
            depth -= 1
            if start is not None and depth == 0:
                yield start._replace(type=tokenize.STRING, end=token.end)
        elif depth == 0:
            yield token


def is_unrelated_tuple(node: ast.AST) -> bool:
    """Whether a statement is like ``a, b = x, y``; ``a, b = pair`` is not."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Tuple) for target in node.targets)
    )


def uses_of_any(text: str, tree: ast.Module, docstrings: set[int]) -> int:
    """How often a type is ``Any``, in annotations and in texts that are types."""
    left_out = set(docstrings)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= lines_of(node)
    uses = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        may_be_type = token.type in (tokenize.NAME, tokenize.STRING)
        if may_be_type and token.start[0] not in left_out:
            uses += len(re.findall(r"\bAny\b", token.string))
    return uses
