"""The team's own pages. Every module here that has a blueprint ``bp`` is registered; its routes' rows of the access
table stand in its ``ACCESS``. ``home.py`` is an example to change. The template never touches this folder again."""

import importlib
import pkgutil

from flask import Flask

from app.security import access


def init_app(app: Flask) -> None:
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(found.name)
        if hasattr(module, "bp"):
            app.register_blueprint(module.bp)
            access.register(app, module.ACCESS)
