"""Your own settings: each field is an environment variable of the same name in upper case. This file is yours.

Give each a type, a bound where there is one, a description, and a line in ``.env.example``; read it with
``config.settings().<name>``.
"""

from pydantic_settings import BaseSettings


class OwnSettings(BaseSettings):
    """What this project adds to the settings of the template."""
