"""Every environment variable of the application: typed, documented, validated.

Read once into one frozen object. Production is the default and refuses to start on a missing, placeholder or weak
value; all problems are listed at once, each with its fix. Only an explicit ``APP_ENV=development`` relaxes anything.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import find_dotenv, load_dotenv
from flask import Flask, current_app
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SECRETS_DIR = Path("/run/secrets")
PLACEHOLDERS = ("change", "secret", "example", "placeholder", "password", "not-so")
# The variable that each provider's own SDK reads; None: it has its own credential chain.
PROVIDER_KEYS: dict[str, str | None] = {
    "openai": "OPENAI_API_KEY",
    "openai-chat": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "bedrock": None,
}


class SettingsError(Exception):
    """The environment does not describe an application that may start; the text lists every problem and its fix."""

    def __init__(self, problems: list[tuple[str, str]]):
        lines = "\n".join(f"  {name}: {text}" for name, text in problems)
        super().__init__(
            f"This application cannot start with these settings:\n{lines}\nEach is described in .env.example."
        )


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """The settings of one process; the names are the environment variables in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    app_env: Literal["production", "development"] = Field("production", description="only development relaxes checks")
    secret_key: SecretStr = Field(description="signs cookies and links; at least 32 random characters")
    secret_key_fallbacks: Words = Field((), description="older keys that still verify, while a key is being rotated")
    data_dir: Path = Field(Path("data"), description="where SQLite and user files live")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in DATA_DIR")
    model: str = Field("", description="model string of Pydantic AI; 'demo' (development only) needs no key")
    openai_base_url: str = Field("", description="an OpenAI-compatible server; then OPENAI_API_KEY may be anything")
    trusted_hosts: Words = Field((), description="host names this site answers to; required in production")
    proxy_hops: int = Field(0, ge=0, le=5, description="reverse proxies in front that set X-Forwarded-* headers")
    mail_url: SecretStr = Field(SecretStr(""), description="smtp[s]://user:password@host:port; required in production")
    mail_from: str = Field("", description="sender of mails; empty: no-reply at the project's domain")
    port: int = Field(8000, ge=1, le=65535)
    web_concurrency: int = Field(1, ge=1, description="worker processes")
    web_threads: int = Field(16, ge=2, description="threads of a worker that answer requests; streams need none")
    replicas: int = Field(1, ge=1, description="machines or pods that run this application")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    session_idle_hours: float = Field(24 * 7, gt=0, description="a session unused for longer is over")
    session_absolute_hours: float = Field(24 * 30, gt=0, description="no session lives longer than this")

    max_message_chars: int = Field(32_000, ge=1, description="longest question accepted")
    history_tokens: int = Field(24_000, ge=0, description="earlier turns sent to the model, by estimated tokens")
    run_timeout_seconds: float = Field(120, gt=0, description="longest time one answer may take")
    max_requests_per_run: int = Field(10, ge=1, description="model requests in one answer, tool steps included")
    max_runs: int = Field(100, ge=1, description="answers one process works on at once")
    max_streams: int = Field(2000, ge=1, description="event streams one process keeps open")
    max_streams_per_user: int = Field(8, ge=1, description="event streams one user may keep open in one process")

    @property
    def development(self) -> bool:
        return self.app_env == "development"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'app.db'}"

    @property
    def chosen_model(self) -> str:
        """MODEL, else the project's own; in development without that provider's key the demo model."""
        default = project()["model"]
        return self.model or ("demo" if self.development and _missing_key(default, self) else default)

    @property
    def sender(self) -> str:
        return self.mail_from or f"no-reply@{project()['domain']}"

    @property
    def session_idle(self) -> timedelta:
        return timedelta(hours=self.session_idle_hours)

    @property
    def session_absolute(self) -> timedelta:
        return timedelta(hours=self.session_absolute_hours)


@cache
def project() -> dict[str, str]:
    """What the project is called and was generated with: name, description, domain, model, template_version."""
    return dict(json.loads(Path(__file__).with_name("project.json").read_text("utf-8")))


def _missing_key(model: str, settings: Settings) -> str | None:
    """The environment variable without which *model* cannot be asked, if it is not set."""
    provider = model.partition(":")[0]
    if settings.openai_base_url and provider.startswith("openai"):
        return None
    variable = PROVIDER_KEYS.get(provider)
    return variable if variable and not os.environ.get(variable) else None


def production_problems(settings: Settings) -> list[tuple[str, str]]:
    """What production refuses: pairs of a variable's name and what is wrong with it, with the fix."""
    problems = []
    key = settings.secret_key.get_secret_value()
    generate = "generate one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if len(key) < 32 or len(set(key)) < 12 or any(word in key.lower() for word in PLACEHOLDERS):
        problems.append(("SECRET_KEY", f"too short, too regular or a placeholder; {generate}"))
    if not settings.trusted_hosts:
        problems.append(("TRUSTED_HOSTS", f"missing; the host names of this site, e.g. {project()['domain']}"))
    elif any(host.endswith(("example.com", "example.org")) for host in settings.trusted_hosts):
        problems.append(("TRUSTED_HOSTS", "still the default domain; set the host names of this site"))
    if not settings.mail_url.get_secret_value():
        problems.append(("MAIL_URL", "missing; sign-up sends a link: smtp://user:password@host:587"))
    if settings.chosen_model == "demo":
        problems.append(("MODEL", f"the demo model is for development; e.g. {project()['model']}"))
    elif variable := _missing_key(settings.chosen_model, settings):
        problems.append((variable, f"missing; MODEL {settings.chosen_model} needs this key"))
    if settings.database.startswith("sqlite") and settings.web_concurrency * settings.replicas > 1:
        problems.append(
            ("DATABASE_URL", "SQLite serves one worker; set a postgresql+psycopg:// URL or WEB_CONCURRENCY=1")
        )
    return problems


def load() -> Settings:
    """Read the environment, then ``.env`` and secret files for what it does not set.

    Raises:
        SettingsError: with every problem at once.
    """
    load_dotenv(find_dotenv(usecwd=True))
    for file in SECRETS_DIR.glob("*") if SECRETS_DIR.is_dir() else ():
        os.environ.setdefault(file.name.upper(), file.read_text("utf-8").strip())
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError([(str(e["loc"][0]).upper(), _fix(e)) for e in error.errors()]) from None
    if not settings.development and (problems := production_problems(settings)):
        raise SettingsError(problems)
    return settings


def _fix(error: Any) -> str:
    if error["type"] == "missing":
        return "missing; `make setup` writes a .env with one, production takes it from the environment"
    return f"{error['msg']} (it is {error['input']!r})"


def init_app(app: Flask, settings: Settings | None) -> None:
    app.extensions["settings"] = settings = settings or load()
    app.config.update(
        SECRET_KEY=settings.secret_key.get_secret_value(),
        SECRET_KEY_FALLBACKS=list(settings.secret_key_fallbacks),
        MAX_CONTENT_LENGTH=1_000_000,
        MAX_FORM_MEMORY_SIZE=500_000,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.jinja_env.globals["project"] = project()


def current() -> Settings:
    """The settings of the current application."""
    settings: Settings = current_app.extensions["settings"]
    return settings
