"""The application factory: a table of contents, one room a line."""

from flask import Flask

from app import (
    accounts,
    admin,
    assets,
    cache,
    chat,
    config,
    database,
    errors,
    jobs,
    observability,
    operations,
    pages,
    pwa,
    security,
)


def create_app(settings: config.Settings | None = None) -> Flask:
    """Build the application; without *settings* they come from the environment (``config.py``)."""
    app = Flask(__name__)
    config.init_app(app, settings)
    observability.init_app(app)
    errors.init_app(app)
    database.init_app(app)
    cache.init_app(app)
    jobs.init_app(app)
    assets.init_app(app)
    security.init_app(app)
    accounts.init_app(app)
    pwa.init_app(app)
    chat.init_app(app)
    operations.init_app(app)
    admin.init_app(app)
    pages.init_app(app)
    security.access.seal(app)
    return app
