"""Requests and HTML of the chat: routes, forms, the conversations list and exports."""

from flask import Flask

from app.chat.pages import export, message_views


def init_app(app: Flask) -> None:
    app.register_blueprint(message_views.bp)
    export.init_app(app)
