"""What a mutation does to a place: small edits that keep the rest of the file.

Each takes the place that was found and returns the whole new source.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping

from places import WILDCARD, Found, PlaceError, range_of

Change = Callable[[Found], bytes]


def replace_by(replacement: str) -> Change:
    """Put *replacement* there; it may repeat a ``___name`` of the pattern.

    In *replacement*, ``___`` is the whole expression that was found.
    """

    def change(found: Found) -> bytes:
        if found.node is None:
            return splice(found.source, found.begin, found.end, replacement)
        wildcards = {**found.captured, WILDCARD: found.node}
        new = Substitution(wildcards).visit(ast.parse(replacement))
        if isinstance(found.node, ast.expr) and isinstance(new.body[0], ast.Expr):
            return replace_expression(found.source, found.node, new.body[0].value)
        statement = whole_statement(found)
        return replace_statement(found.source, statement, ast.unparse(new))

    return change


always = replace_by("True")
never = replace_by("False")


def remove_statement(found: Found) -> bytes:
    """Put ``pass`` in place of a whole statement."""
    return replace_statement(found.source, whole_statement(found), "pass")


def remove_operand(found: Found) -> bytes:
    """Remove an operand of ``and``, ``or``, ``+``, ``|`` ... with its operator."""
    parent = found.parents[0]
    if isinstance(parent, ast.BoolOp):
        rest = [value for value in parent.values if value is not found.node]
        new = rest[0] if len(rest) == 1 else ast.BoolOp(parent.op, rest)
    elif isinstance(parent, ast.BinOp):
        new = parent.right if parent.left is found.node else parent.left
    else:
        raise PlaceError("not an operand")
    return replace_expression(found.source, parent, new)


def remove_element(found: Found) -> bytes:
    """Remove an element of a tuple, list or set, or a positional argument."""
    parent = found.parents[0]
    if isinstance(parent, ast.Tuple | ast.List | ast.Set):
        field = "elts"
    elif isinstance(parent, ast.Call) and found.node in parent.args:
        field = "args"
    else:
        raise PlaceError("not an element or an argument")
    new = copy.copy(parent)
    rest = [element for element in getattr(parent, field) if element is not found.node]
    setattr(new, field, rest)
    return replace_expression(found.source, parent, new)


def drop_keyword(name: str) -> Change:
    """Remove a keyword argument of a call or of a class."""

    def change(found: Found) -> bytes:
        node = found.node
        if not isinstance(node, ast.Call | ast.ClassDef):
            raise PlaceError("neither a call nor a class")
        rest = [keyword for keyword in node.keywords if keyword.arg != name]
        if len(rest) == len(node.keywords):
            raise PlaceError(f"no keyword argument {name!r}")
        new = copy.copy(node)
        new.keywords = rest
        if isinstance(new, ast.expr):
            return replace_expression(found.source, node, new)
        return replace_statement(found.source, node, ast.unparse(new))

    return change


def drop_key(name: str) -> Change:
    """Remove an entry of a dictionary."""

    def change(found: Found) -> bytes:
        node = found.node
        if not isinstance(node, ast.Dict):
            raise PlaceError("not a dictionary")
        entries = [
            (key, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if not (isinstance(key, ast.Constant) and key.value == name)
        ]
        if len(entries) == len(node.keys):
            raise PlaceError(f"no key {name!r}")
        keys = [key for key, _ in entries]
        new = ast.Dict(keys, [value for _, value in entries])
        return replace_expression(found.source, node, new)

    return change


def comment_out(found: Found) -> bytes:
    """Make a comment of the line, in a file that is not Python."""
    line_begin = found.source.rfind(b"\n", 0, found.begin) + 1
    return splice(found.source, line_begin, line_begin, "# ")


class Substitution(ast.NodeTransformer):
    """Put what the wildcards matched in place of their names."""

    def __init__(self, wildcards: Mapping[str, ast.AST]):
        self.wildcards = wildcards

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.wildcards.get(node.id, node)


def whole_statement(found: Found) -> ast.stmt:
    """The statement that was found, or that consists of the expression found."""
    for node in (found.node, *found.parents[:1]):
        if isinstance(node, ast.stmt) and (
            node is found.node or isinstance(node, ast.Expr)
        ):
            return node
    raise PlaceError("not a whole statement")


def replace_expression(source: bytes, old: ast.AST, new: ast.AST) -> bytes:
    begin, end = range_of(source, old)
    text = ast.unparse(new)
    # Parentheses keep the precedence, and they are allowed around every expression
    # but these.
    if not isinstance(new, ast.Starred | ast.Slice):
        text = f"({text})"
    return splice(source, begin, end, text)


def replace_statement(source: bytes, old: ast.AST, new: str) -> bytes:
    begin, end = range_of(source, old)
    indentation = " " * getattr(old, "col_offset", 0)
    return splice(source, begin, end, new.replace("\n", f"\n{indentation}"))


def splice(source: bytes, begin: int, end: int, text: str) -> bytes:
    return source[:begin] + text.encode() + source[end:]
