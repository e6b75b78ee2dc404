"""The installed app: manifest, service worker, offline page, push notifications and how it all looks."""

from flask import Flask

from app.accounts import own_data
from app.accounts.views import add_section
from app.pwa import push, views


def init_app(app: Flask) -> None:
    app.register_blueprint(views.bp)
    app.cli.add_command(push.vapid)
    add_section(app, "appearance")
    add_section(app, "notifications", push.section)
    own_data.exports(app, "notifications", push.exported)
    app.jinja_env.globals.update(colour_scheme=views.colour_scheme, push_key=push.public_key)
