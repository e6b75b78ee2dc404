"""Typed access to the objects of one application.

A package declares a key for each object that it shares, sets it in its `init_app`,
and everyone else reads it through that key:

    RUNNER: AppKey[Runner] = AppKey("runner")
    RUNNER.set(app, Runner(app))
    RUNNER.current().admit()
"""

from typing import Generic, TypeVar

from flask import Flask, current_app

T = TypeVar("T")


class AppKey(Generic[T]):
    """Typed access to one object of an application.

    The object is kept in `app.extensions` under the name of the key.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def set(self, app: Flask, value: T) -> None:
        """Give *app* its object, in place of an earlier one."""
        app.extensions[self.name] = value

    def of(self, app: Flask) -> T:
        """Return the object of *app*; raise KeyError with the name if none was set."""
        value: T = app.extensions[self.name]
        return value

    def current(self) -> T:
        """Return the object of the current application."""
        return self.of(current_app)
