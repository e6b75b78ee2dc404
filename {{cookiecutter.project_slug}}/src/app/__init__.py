"""The application factory: a table of contents, one room a line."""

from __future__ import annotations

from flask import Flask

from app import accounts, assets, chat, config, database, errors, mail, observability, pages, security


def create_app(settings: config.Settings | None = None) -> Flask:
    """Build the application; without *settings* they come from the environment (``config.py``)."""
    app = Flask(__name__)
    config.init_app(app, settings)
    observability.init_app(app)
    errors.init_app(app)
    database.init_app(app)
    mail.init_app(app)
    assets.init_app(app)
    security.init_app(app)
    accounts.init_app(app)
    chat.init_app(app)
    pages.init_app(app)
    security.access.seal(app)
    return app
