"""How a mutation finds its place, what it changes there, and how its tests are judged."""

from __future__ import annotations

import ast
import sys

import pytest
from conftest import TEMPLATE

sys.path.insert(0, str(TEMPLATE / "mutations"))
import changes
from places import Place, PlaceError, in_class, in_function, in_module, in_text, in_toml
from verdicts import Result, repeat_without_verdict

SOURCE = '''"""The é stands before everything, so that bytes and characters differ."""

LIMIT = 3


@cached("é")
class Box(Base, strict=True):
    size: int = 1

    def open(self, user, key="é"):
        if user is None or key == 'ä' or len(
            key,
        ) > 5:  # a comment
            raise Refused
        options = {"one": 1, "two": 2}
        for part in (first, second, third):
            part.start(app, mode="x", strict=True)
        return f"{user.name}" + (key) + "!"

    def close(self):
        def open(self):
            return 1

        log(self)
'''

TABLE = """
top = "a # b" # a comment
[one]
"a key" = 1
[two]
"a key" = { x = "é" } # another
list = [
  1,
]
"""
OPEN = "Box.open"
FOUND = [
    (in_module("LIMIT = 3"), "LIMIT = 3"),
    (in_module("LIMIT = ___"), "LIMIT = 3"),
    (in_module("(((___ == 'ä')))"), "key == 'ä'"),
    (in_class("Box", "size: int = ___"), "size: int = 1"),
    (in_function(OPEN, "len(key) > 5"), "len(\n            key,\n        ) > 5"),
    (in_function(OPEN, "key == ___", "key"), "key"),
    (in_function(OPEN, "(*___, second, *___)"), "(first, second, third)"),
    (in_function(OPEN, "(first, *___, third)"), "(first, second, third)"),
    (in_function(OPEN, "for ___ in ___: ___", "part.start"), "part.start"),
    (in_function(OPEN, "{'two': 2, **___}"), '{"one": 1, "two": 2}'),
    (in_function(OPEN, "{'two': 2, 'one': ___}"), '{"one": 1, "two": 2}'),
    (in_function(OPEN, "if ___ or ___ or ___: ___", "user is None"), "user is None"),
    (in_function(OPEN, "f'{user.name}'"), 'f"{user.name}"'),
    (in_function("Box.close.open", "return ___"), "return 1"),
    (in_text("# a comment"), "# a comment"),
]
NOT_FOUND = [
    (in_module("LIMIT = 4"), "'LIMIT = 4' is not there in the module"),
    (in_module("LIMIT = '3'"), "not there"),
    (in_function("Box.shut", "___"), "function 'Box.shut' is not there in the file"),
    (in_function("open", "return ___"), "not there"),
    (in_class(OPEN), "class 'Box.open' is not there"),
    (in_module("return ___"), r"there 2 times in the module \(lines 18, 22\)"),
    (in_function(OPEN, "(first, second)"), "not there"),
    (in_function(OPEN, "(*___, second)"), "not there"),
    (in_function(OPEN, "part.start(app, mode='x')"), "not there"),
    (in_function(OPEN, "part.start(mode='x', **___)"), "not there"),
    (in_function(OPEN, "part.start(*___, loud=___, **___)"), "not there"),
    (in_function(OPEN, "{'two': 2}"), "not there"),
    (in_function(OPEN, "user.name"), "inside an f-string"),
    (in_module("LIMIT = 3; LIMIT = 4"), "is not one expression or statement"),
    (in_text("strict=True"), "'strict=True' is there 2 times"),
]
CHANGED = [
    (
        in_function(OPEN, "len(___) > ___"),
        changes.remove_operand,
        "        if (user is None or key == 'ä'):  # a comment",
    ),
    (
        in_function(OPEN, "user is None"),
        changes.never,
        "        if (False) or key == 'ä' or len(",
    ),
    (
        in_function(OPEN, "___ + '!'", "'!'"),
        changes.remove_operand,
        "        return (f'{user.name}' + key)",
    ),
    (
        in_function(OPEN, "second"),
        changes.remove_element,
        "        for part in ((first, third)):",
    ),
    (
        in_function(OPEN, "part.start(*___, **___)"),
        changes.drop_keyword("strict"),
        "            (part.start(app, mode='x'))",
    ),
    (
        in_function(OPEN, "part.start(*___, **___)", "app"),
        changes.remove_element,
        "            (part.start(mode='x', strict=True))",
    ),
    (
        in_function(OPEN, "part.start(*___, **___)"),
        changes.remove_statement,
        "            pass",
    ),
    (
        in_function(OPEN, "part.start(*___, **___)"),
        changes.replace_by("part = 1\ndel part"),
        "            part = 1\n            del part",
    ),
    (
        in_function(OPEN, "options = ___value"),
        changes.replace_by("options = [___value]"),
        "        options = [{'one': 1, 'two': 2}]",
    ),
    (
        in_function(OPEN, "{**___}"),
        changes.replace_by("___ | more"),
        "        options = ({'one': 1, 'two': 2} | more)",
    ),
    (
        in_function(OPEN, "{**___}"),
        changes.drop_key("one"),
        "        options = ({'two': 2})",
    ),
    (
        in_function("Box.close.open"),
        changes.remove_statement,
        "        pass",
    ),
    (
        in_text("@cached("),
        changes.replace_by("@kept("),
        '@kept("é")',
    ),
]
REFUSED = [
    (in_function(OPEN, "user is None"), changes.remove_statement),
    (in_function(OPEN, "user is None"), changes.remove_element),
    (in_function(OPEN, "second"), changes.remove_operand),
    (in_function(OPEN, "second"), changes.replace_by("x = 1")),
    (in_function(OPEN, "part.start(*___, **___)"), changes.drop_keyword("loud")),
    (in_function(OPEN, "{**___}"), changes.drop_key("three")),
    (in_module("LIMIT = 3"), changes.drop_keyword("loud")),
]
PASSED = Result(0, None, "1 passed")
FAILED = Result(1, "tests/test_x.py::test_y", "FAILED tests/test_x.py::test_y - ...")
KILLED = Result(-9, None, "")
TOO_SLOW = Result(None, None, "")


def text_at(place: Place, source: str) -> str:
    found = place.find(source.encode())
    return found.source[found.begin : found.end].decode()


@pytest.mark.parametrize(("place", "text"), FOUND, ids=range(len(FOUND)))
def test_a_place_is_found_by_its_structure(place: Place, text: str) -> None:
    assert text_at(place, SOURCE) == text


@pytest.mark.parametrize(("place", "message"), NOT_FOUND, ids=range(len(NOT_FOUND)))
def test_a_place_that_is_not_there_once_is_an_error(place: Place, message: str) -> None:
    with pytest.raises(PlaceError, match=message):
        place.find(SOURCE.encode())


@pytest.mark.parametrize(("place", "change", "lines"), CHANGED, ids=range(len(CHANGED)))
def test_a_change_keeps_every_other_line(
    place: Place,
    change: changes.Change,
    lines: str,
) -> None:
    changed = change(place.find(SOURCE.encode())).decode()
    ast.parse(changed)
    begin = changed.index(f"\n{lines}\n") + 1
    after = changed[begin + len(lines) :]
    assert SOURCE.startswith(changed[:begin])
    assert SOURCE.endswith(after)
    assert len(SOURCE) - begin - len(after) < len(SOURCE) / 4


def test_a_changed_class_is_written_whole() -> None:
    change = changes.drop_keyword("strict")
    changed = change(in_class("Box").find(SOURCE.encode())).decode()
    assert "@cached('é')\nclass Box(Base):\n" in changed
    before = ast.parse(SOURCE)
    box = before.body[2]
    assert isinstance(box, ast.ClassDef)
    box.keywords = []
    assert ast.dump(ast.parse(changed)) == ast.dump(before)


@pytest.mark.parametrize(("place", "change"), REFUSED, ids=range(len(REFUSED)))
def test_a_change_that_does_not_fit_its_place_is_an_error(
    place: Place,
    change: changes.Change,
) -> None:
    with pytest.raises(PlaceError):
        change(place.find(SOURCE.encode()))


def test_a_value_is_found_by_its_table_and_key() -> None:
    assert text_at(in_toml("", "top"), TABLE) == '"a # b"'
    assert text_at(in_toml("one", "a key"), TABLE) == "1"
    assert text_at(in_toml("two", "a key"), TABLE) == '{ x = "é" }'
    with pytest.raises(PlaceError, match="'top' is there 0 times in table 'two'"):
        in_toml("two", "top").find(TABLE.encode())
    with pytest.raises(PlaceError, match="no value on one line"):
        in_toml("two", "list").find(TABLE.encode())
    changed = changes.comment_out(in_toml("two", "a key").find(TABLE.encode()))
    assert changed.decode() == TABLE.replace('"a key" = {', '# "a key" = {')


@pytest.mark.parametrize(
    ("results", "line", "repeated"),
    [
        ([PASSED], "SURVIVED x", False),
        ([FAILED], "KILLED x tests/test_x.py::test_y", False),
        ([KILLED, FAILED], "KILLED x tests/test_x.py::test_y", True),
        ([KILLED, PASSED], "SURVIVED x", True),
        ([TOO_SLOW, TOO_SLOW], "SURVIVED x (too slow)", True),
        ([KILLED, KILLED], "SURVIVED x (exit code -9: '')", True),
    ],
)
def test_a_test_run_without_a_verdict_is_repeated_once(
    results: list[Result],
    line: str,
    repeated: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = iter(results)
    result = repeat_without_verdict("x", lambda: next(runs))
    assert result.verdict("x") == line
    assert list(runs) == []
    assert capsys.readouterr().out.startswith("REPEATED x (") == repeated
