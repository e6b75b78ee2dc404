"""The generated application with the scripted model, for gunicorn.

BENCH_READ=threads reads streams in threads; BENCH_MODEL=own leaves the model of the settings, imported at the first
question. BENCH_LIMITS=off lets one person ask more often than 30 times a minute.
"""

from __future__ import annotations

import os

from app import create_app

app = create_app()

if os.environ.get("BENCH_MODEL") != "own":
    from scripted import scripted_model

    from app.chat.model.call import model_of

    model_of(app)  # so that nothing is left to import at the first question
    app.extensions["model"] = scripted_model()

if os.environ.get("BENCH_LIMITS") == "off":
    for limiter in app.extensions["limiter"]:
        limiter.enabled = False

if os.environ.get("BENCH_READ") == "threads":
    taking_over = app.wsgi_app

    def reading_in_threads(environ, start_response):  # type: ignore[no-untyped-def]
        environ.pop("gunicorn.socket", None)
        return taking_over(environ, start_response)

    app.wsgi_app = reading_in_threads
