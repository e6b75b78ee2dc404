"""Every environment variable of the application: typed, documented, validated.

Read once into one frozen object. Production is the default and refuses to start on a missing, placeholder or weak
value; all problems are listed at once, each with its fix. Only an explicit ``APP_ENV=development`` relaxes anything.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from dotenv import find_dotenv, load_dotenv
from flask import Flask, current_app
from flask.helpers import get_debug_flag
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import NoDecode, SettingsConfigDict

from app.own_settings import OwnSettings

SECRETS_DIR = Path("/run/secrets")
MISSING = "missing; `make setup` writes a .env with one, production takes it from the environment"
EXAMPLES = ("example.com", "example.org")
PLACEHOLDERS = ("change", "secret", "example", "placeholder", "password", "not-so")


def read_table(module: str, name: str) -> dict[str, Any]:
    """A TOML file beside a module, which passes its ``__file__``."""
    return tomllib.loads(Path(module).with_name(name).read_text("utf-8"))


PROVIDERS = read_table(__file__, "providers.toml")
PUSH_SERVICES = "fcm.googleapis.com updates.push.services.mozilla.com web.push.apple.com .notify.windows.com"


class SettingsError(Exception):
    """The environment does not describe an application that may start; the text lists every problem and its fix."""

    def __init__(self, problems: list[tuple[str, str]]):
        lines = [f"  {name}: {text}" for name, text in problems]
        first, last = "This application cannot start with these settings:", "Each is described in .env.example."
        super().__init__("\n".join((first, *lines, last)))


def _split(separator: str) -> BeforeValidator:
    def parts(value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(separator)))) if isinstance(value, str) else value

    return BeforeValidator(parts)


def _one_of(*schemes: str) -> AfterValidator:
    """Accepts an empty value or a URL of one of these schemes; what is refused is not shown, it holds a password."""

    def check(value: SecretStr) -> SecretStr:
        scheme, separator, _ = value.get_secret_value().partition("://")
        if scheme and not (separator and scheme.partition("+")[0] in schemes):
            raise ValueError(f"not a URL that begins with {' or '.join(f'{name}://' for name in schemes)}")
        return value

    return AfterValidator(check)


Words = Annotated[tuple[str, ...], NoDecode, _split(",")]
Questions = Annotated[tuple[str, ...], NoDecode, _split("|")]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=0)]
Duration = Annotated[float, Field(gt=0)]
NOTHING = SecretStr("")


class Settings(OwnSettings):
    """The settings of one process; the names are the environment variables in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    app_env: Literal["production", "development"] = "production"  # only development relaxes checks
    secret_key: SecretStr  # signs cookies and links; at least 32 random characters
    secret_key_fallbacks: Words = ()  # older keys that still verify, while a key is being rotated
    data_dir: Path = Path("data")  # where SQLite and user files live
    # postgresql://…; empty: SQLite in DATA_DIR
    database_url: Annotated[SecretStr, _one_of("postgresql", "postgres", "sqlite")] = NOTHING
    pgbouncer: bool = False  # DATABASE_URL is a PgBouncer that pools transactions
    # event log, limits and cache that processes share; empty: memory, for one process
    redis_url: Annotated[SecretStr, _one_of("redis", "rediss")] = NOTHING
    jobs_url: str = ""  # where jobs wait, redis:// or postgresql://; empty: the database's engine
    model: str = ""  # model string of Pydantic AI; 'demo' (in development, and as localhost) needs no key
    model_fallbacks: Words = ()  # asked in turn, when the one before fails before its first word
    openai_base_url: str = ""  # an OpenAI-compatible server; then OPENAI_API_KEY may be anything
    asset_base_url: str = Field("", pattern="^(https?://[^/]+.*)?$")  # a CDN for static files; empty: this site
    trusted_hosts: Words = ()  # host names this site answers to; required in production
    proxy_hops: int = Field(0, ge=0, le=5)  # reverse proxies in front that set X-Forwarded-* headers
    mail_url: SecretStr = NOTHING  # smtp[s]://user:password@host:port; required in production
    mail_from: str = ""  # sender of mails; empty: no-reply at the project's domain
    vapid_private_key: SecretStr = NOTHING  # for notifications; `flask vapid` prints one
    # hosts of push services that notifications may be sent to; a leading dot: any name under it
    push_hosts: Words = tuple(PUSH_SERVICES.split())
    security_contact: str = ""  # whom to tell about a hole; empty: security at the project's domain
    port: int = Field(8000, ge=1, le=65535)
    web_concurrency: Count = 1  # worker processes
    web_threads: int = Field(16, ge=2)  # threads of a worker that answer requests; streams need none
    max_requests_per_worker: int = Field(100_000, ge=0)  # after about so many a new one takes its place; 0: never
    max_worker_memory_mb: int = Field(0, ge=0)  # the same once it has needed more than this, on Linux; 0: never
    replicas: Count = 1  # machines or pods that run this application
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    trace_sample_rate: float = Field(1, ge=0, le=1)  # share of ordinary traces; errors are always kept
    trace_content: bool = False  # put prompts, answers and messages of errors into traces
    analytics: bool = True  # count activity for the operators' page, without people or texts
    trust_traceparent: bool = False  # continue the caller's trace; for a proxy that starts one

    keep_deleted_days: Days = 30  # how long a deleted conversation can be restored; 0: for good
    keep_conversations_days: Days = 0  # unused conversations go after so many days; 0: never
    keep_runs_days: Days = 0  # what answers cost is forgotten after so many days; 0: never
    prometheus_url: str = ""  # asked by `flask ready`
    alertmanager_url: str = ""  # the same
    restic_repository: str = ""  # where backups go: a folder, or a URL as restic writes it
    restic_password: SecretStr = NOTHING  # encrypts the backups; keep a copy apart from them
    # which backups `restic forget` keeps
    restic_keep: str = "--keep-last 3 --keep-daily 7 --keep-weekly 5 --keep-monthly 12"
    backup_every_hours: float = Field(24, ge=0)  # how often a backup is made; 0: only by hand

    session_idle_hours: Duration = 24 * 7  # a session unused for longer is over
    session_absolute_hours: Duration = 24 * 30  # no session lives longer than this

    # what an empty chat offers to ask, separated by |
    suggestions: Questions = ("What can you do?", "Show my usage", "Count to 20")
    max_message_chars: Count = 32_000  # longest question accepted
    history_tokens: int = Field(24_000, ge=0)  # earlier turns sent to the model, by estimated tokens
    run_timeout_seconds: Duration = 120  # longest time one answer may take
    first_token_seconds: Duration = 60  # longest wait for a first word, retries included
    between_tokens_seconds: Duration = 30  # longest silence within an answer
    model_retries: int = Field(1, ge=0, le=5)  # further tries of a request that failed
    max_model_requests: Count = 100  # requests one process has open at its provider at once
    max_answer_chars: Count = 200_000  # an answer is cut off there
    max_tokens_per_run: Count = 500_000  # tokens of all requests of one answer
    user_tokens_per_day: int = Field(2_000_000, ge=0)  # what one user may spend a day (UTC); 0: any number
    user_dollars_per_day: float = Field(20, ge=0)  # the same in US dollars, where prices are known; 0: any
    max_requests_per_run: Count = 10  # model requests in one answer, tool steps included
    max_tool_calls_per_response: Count = 16  # calls of tools that one model response may ask for
    max_runs: Count = 100  # answers one process works on at once
    max_streams: Count = 2000  # event streams one process keeps open
    max_streams_per_user: Count = 8  # event streams one user may keep open in one process

    @property
    def development(self) -> bool:
        return self.app_env == "development"

    @property
    def database(self) -> str:
        """A SQLAlchemy URL; a PostgreSQL one without a driver gets the one that is installed."""
        given = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url.get_secret_value())
        return given or f"sqlite:///{self.data_dir.absolute() / 'app.db'}"

    @property
    def redis(self) -> str:
        """The URL of Redis, or nothing: then everything that Redis would hold is in memory."""
        return self.redis_url.get_secret_value()

    @property
    def processes(self) -> int:
        """How many processes serve this application, on all machines together."""
        return self.web_concurrency * self.replicas

    @property
    def chosen_model(self) -> str:
        """MODEL, else the project's own; in development without that provider's key the demo model."""
        default = project()["model"]
        return self.model or ("demo" if self.development and _missing_key(default, self) else default)

    @property
    def models(self) -> tuple[str, ...]:
        """The chain of models, in the order in which they are asked."""
        return (self.chosen_model, *self.model_fallbacks)

    @property
    def sender(self) -> str:
        return self.mail_from or f"no-reply@{project()['domain']}"


@cache
def project() -> dict[str, str]:
    """What the project is called and was generated with: name, description, domain, model, template_version."""
    return dict(json.loads(Path(__file__).with_name("project.json").read_text("utf-8")))


def _provider(model: str) -> str:
    return model.partition(":")[0].removesuffix("-chat").removesuffix("-responses")


def known_providers() -> set[str]:
    """Names of providers, by the files of Pydantic AI: importing it takes too long for the start."""
    package = find_spec("pydantic_ai")
    folder = Path(package.origin or "").parent / "providers" if package else Path()
    return {file.stem.replace("_", "-") for file in folder.glob("[!_]*.py")} | PROVIDERS.keys()


def key_variables(settings: "Settings", model_name: str) -> list[str]:
    """The environment variables with the keys of those models in the chain that have this name."""
    named = [model for model in settings.models if model.partition(":")[2] == model_name] or settings.models
    return [variable for model in named if (variable := PROVIDERS.get(_provider(model), [""])[0])]


def model_problems(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Why models of the chain could not be asked: pairs of a variable and what is wrong with it, with the fix."""
    for model in settings.models:
        if model in ("demo", "test"):
            continue
        provider, known = _provider(model), known_providers()
        if ":" not in model or provider not in known:
            close = get_close_matches(provider, known, 1)
            hint = f"; did you mean {close[0]}:{model.partition(':')[2] or 'NAME'}?" if close else ""
            yield "MODEL", f"{model} names no known provider, as in openai:gpt-5.2{hint}"
            continue
        if variable := _missing_key(model, settings):
            yield variable, f"missing; MODEL {model} needs this key"
        if _missing_package(model):
            yield "MODEL", f"{model} needs an SDK: uv add 'pydantic-ai-slim[{provider}]'"


def _missing_package(model: str) -> bool:
    try:
        return not version(PROVIDERS.get(_provider(model), ("", "pydantic-ai-slim"))[1])
    except PackageNotFoundError:
        return True


def _missing_key(model: str, settings: Settings) -> str:
    """The environment variable without which *model* cannot be asked, if it is not set."""
    variable, package = PROVIDERS.get(_provider(model), ("", ""))
    return "" if os.environ.get(variable) or (package == "openai" and settings.openai_base_url) else variable


def production_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """What production refuses: pairs of a variable's name and what is wrong with it, with the fix."""
    key, hosts, several = settings.secret_key.get_secret_value(), settings.trusted_hosts, settings.processes > 1
    weak = len(key) < 32 or len(set(key)) < 12 or any(word in key.lower() for word in PLACEHOLDERS)
    or_one = ", or one worker and replica"
    generate = "generate one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    vapid = re.fullmatch(r"([A-Za-z0-9_-]{43})?", settings.vapid_private_key.get_secret_value())
    mail, sqlite = settings.mail_url.get_secret_value(), settings.database.startswith("sqlite")
    shared = "the event log, limits and cache of several workers must not be in memory: set a redis:// URL"
    for refused, variable, problem in (
        (settings.development, "APP_ENV", "development relaxes every check"),
        (get_debug_flag(), "FLASK_DEBUG", "it shows the source and a console to everybody"),
        (weak, "SECRET_KEY", f"too short, too regular or a placeholder; {generate}"),
        (not hosts, "TRUSTED_HOSTS", f"missing; the host names of this site, e.g. {project()['domain']}"),
        (any(host.endswith(EXAMPLES) for host in hosts), "TRUSTED_HOSTS", "still the default domain; set this site's"),
        (not mail, "MAIL_URL", "missing; sign-up sends a link: smtp://user:password@host:587"),
        (not vapid, "VAPID_PRIVATE_KEY", "not such a key; `flask vapid` prints one; empty: no notifications"),
        (several and sqlite, "DATABASE_URL", f"SQLite serves one worker; set a postgresql:// URL{or_one}"),
        (several and not settings.redis, "REDIS_URL", f"missing; {shared}{or_one}"),
    ):
        if refused:
            yield variable, problem
    for model in settings.models:
        if model == "test" or (model == "demo" and hosts != ("localhost",)):  # a trial of the deployment may
            yield "MODEL", f"the {model} model is for development; e.g. {project()['model']}"
    yield from model_problems(settings)


_secrets_from_files: dict[str, str] = {}


def read_secret_files() -> bool:
    """Set the variables that files in SECRETS_DIR hold; return whether one has changed since it was last read.

    A variable that the environment itself sets stays as it is.
    """
    has_changed = False
    for file in filter(Path.is_file, SECRETS_DIR.glob("*")):  # Kubernetes keeps folders of its own beside them
        variable, text = file.name.upper(), file.read_text("utf-8").strip()
        if variable in os.environ and os.environ[variable] != _secrets_from_files.get(variable):
            continue
        has_changed |= _secrets_from_files.get(variable, text) != text
        _secrets_from_files[variable] = os.environ[variable] = text
    return has_changed


def load(*, strict: bool = True) -> Settings:
    """Read the environment, then ``.env`` and secret files for what it does not set. Operators' commands are not
    *strict*: they need neither a SECRET_KEY nor what else production asks of the web process.

    Raises:
        SettingsError: with every problem at once.
    """
    load_dotenv(find_dotenv(usecwd=True))
    read_secret_files()
    try:
        settings = Settings() if strict or os.environ.get("SECRET_KEY") else Settings(secret_key=SecretStr(""))
    except ValidationError as error:
        told = {e["loc"][0]: MISSING if e["type"] == "missing" else e["msg"] for e in error.errors()}
        raise SettingsError([(str(name).upper(), text) for name, text in told.items()]) from None
    if strict and not settings.development and (problems := list(production_problems(settings))):
        raise SettingsError(problems)
    return settings


def init_app(app: Flask, settings: Settings | None) -> None:
    app.extensions["settings"] = settings = settings or load()
    app.config["SECRET_KEY"] = settings.secret_key.get_secret_value()
    app.config["SECRET_KEY_FALLBACKS"] = list(settings.secret_key_fallbacks)
    app.config.update(MAX_CONTENT_LENGTH=1_000_000, MAX_FORM_MEMORY_SIZE=500_000, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.jinja_env.globals |= {"project": project(), "settings": settings}


def settings() -> Settings:
    """The settings of the current application."""
    return cast("Settings", current_app.extensions["settings"])
