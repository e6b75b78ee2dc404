"""The application with its limits switched off, since they would stop a scanner at once, and with holes of our own: a
scanner that does not find them would not have found one of the application's either. ``served.py`` serves it.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from flask import Response, redirect, request
from sqlalchemy import text

from app import create_app
from app.database import db
from app.security.access import Route, register

app = create_app()
app.extensions["limits"].enabled = False
rows = [(r.endpoint, m, r.rule) for r in app.url_map.iter_rules() for m in sorted(r.methods & {"GET", "POST"})]
Path(os.environ["DATA_DIR"], "routes.json").write_text(json.dumps(rows))
kept: list[bytes] = []


def sql():
    """Injection, by a query string."""
    found = db.session.execute(text(f"SELECT 1 FROM alembic_version WHERE 'Hello' = '{request.args.get('q', '')}'"))
    return {"found": len(found.all())}


def echo():
    """Script of a visitor's."""
    return Response(f"<p>{request.args.get('q', '')}</p>", mimetype="text/html")


def leave():
    """Any other site."""
    to = request.args.get("to", "/")
    _ = urlsplit(to).port  # raises here, not in the server, for what is no address
    return redirect(to)


def fetch():
    """Whatever address a visitor names."""
    return {"read": len(urllib.request.urlopen(request.args["to"]).read())}


def crash():
    """A traceback in the log."""
    raise RuntimeError("a fault of the drill's own")


def leak():
    """Four megabytes that are never given back."""
    kept.append(os.urandom(4_000_000))
    return {"kept": len(kept)}


def holes():
    """Where a crawler finds those that have a parameter."""
    links = [f'<a href="/holes/{name}">{name}</a>' for name in ("sql?q=Hello", "echo?q=a", "leave?to=a", "fetch?to=a")]
    return "<title>Holes</title>" + " ".join(links)


if os.environ["HOLES"]:
    for view in (sql, echo, leave, fetch, crash, leak, holes):
        name = f"hole_{view.__name__}"
        app.add_url_rule("/holes" if view is holes else f"/holes/{view.__name__}", name, view)
        register(app, [Route(name, "GET", "public")])
