"""The application without limits, and with the scripted model of the benchmarks: ``soak.py`` serves it."""

from __future__ import annotations

from scripted import scripted_model

from app import create_app
from app.chat.model.call import model_of

app = create_app()
app.extensions["limits"].enabled = False
model_of(app)  # so that nothing is left to import at the first question
app.extensions["model"] = scripted_model()
