"""The operators' page, for accounts that ``flask admin`` has made administrators."""

import secrets

import click
from flask import Flask, cli
from sqlalchemy import select, update

from app.accounts.models import User
from app.admin import activity
from app.database import transaction


@click.command("admin")
@click.argument("email")
@click.option("--new", is_flag=True, help="Make the account; its password is shown once.")
@click.option("--revoke", is_flag=True, help="Take it back.")
@cli.with_appcontext
def command(email: str, new: bool, revoke: bool) -> None:
    """Let the account with this address see the operators' page."""
    with transaction() as session:
        if new and not session.scalar(select(User.id).where(User.email == email)):
            session.add(User.confirmed(email, password := secrets.token_urlsafe(12)))
            click.echo(f"The password of {email} is {password}")
        found = session.scalar(update(User).where(User.email == email).values(is_admin=not revoke).returning(User.id))
    if found is None:
        raise click.ClickException(f"There is no account {email}; it has to sign up first; --new makes one.")
    click.echo(f"{email} {'is no longer' if revoke else 'is now'} an administrator.")


def init_app(app: Flask) -> None:
    app.cli.add_command(command)
    if app.extensions["settings"].analytics:
        app.register_blueprint(activity.bp)
