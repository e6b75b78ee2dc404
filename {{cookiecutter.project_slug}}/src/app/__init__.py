"""The application factory: a table of contents, one room after the other."""

from flask import Flask
from werkzeug.utils import import_string

from app import config
from app.security import access

# In this order: a room leans on those before it, never on one after it.
ROOMS = "observability errors database cache jobs assets security accounts pwa chat operations admin pages".split()


def create_app(settings: config.Settings | None = None) -> Flask:
    """Build the application; without *settings* they come from the environment (``config.py``)."""
    app = Flask(__name__)
    config.init_app(app, settings)
    for room in ROOMS:
        import_string(f"app.{room}").init_app(app)
    access.seal(app)
    return app
