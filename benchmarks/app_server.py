"""The generated application with the scripted model, for gunicorn: ``gunicorn -c PROJECT/gunicorn.conf.py app_server:app``."""

from __future__ import annotations

import logfire
from app import create_app
from app.chat import asking  # noqa: F401  (imported before the clock starts, as after any first question)
from scripted import scripted_model

app = create_app()
app.extensions["model"] = scripted_model()
logfire.instrument_pydantic_ai(include_content=False)
