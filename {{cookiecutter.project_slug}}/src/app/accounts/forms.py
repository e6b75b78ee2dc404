"""Forms that differ from Flask-Security's own."""

from __future__ import annotations

from flask_security import LoginForm


class SignInForm(LoginForm):
    """Without "remember me": such a cookie would sign in after its session row has ended."""

    remember = None
