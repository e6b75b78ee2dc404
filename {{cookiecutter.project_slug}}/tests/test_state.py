"""The typed keys of an application's objects."""

from __future__ import annotations

import pytest
from flask import Flask

from app.state import AppKey

GREETING: AppKey[str] = AppKey("greeting")


def test_each_application_has_its_own_object() -> None:
    first = Flask("first")
    second = Flask("second")
    GREETING.set(first, "hello")
    GREETING.set(second, "good morning")
    assert GREETING.of(first) == "hello"
    assert GREETING.of(second) == "good morning"
    with second.app_context():
        assert GREETING.current() == "good morning"


def test_the_object_is_also_found_under_its_name_in_the_extensions() -> None:
    app = Flask("app")
    GREETING.set(app, "hello")
    assert app.extensions["greeting"] == "hello"
    app.extensions["greeting"] = "goodbye"
    assert GREETING.of(app) == "goodbye"


def test_a_key_without_an_object_is_named_in_the_error() -> None:
    with pytest.raises(LookupError, match="greeting"):
        GREETING.of(Flask("app"))
