"""The public front page."""

from flask import Blueprint, render_template

from app.security.access import PUBLIC, Route

bp = Blueprint("home", __name__)
ACCESS = (Route("home.index", "GET", PUBLIC),)


@bp.get("/")
def index() -> str:
    return render_template("pages/home.html")
