"""``flask ready``: the production checklist, asked of a deployment. It never passes what it has not measured.

``checklist.toml`` says what is asked, when, and what to do about it. What a setting, a request or a query of Prometheus
tells stands there whole; what takes more is a function in ``checks.py`` with the name of the check.
"""

import json
from typing import Any

import click

from app import jobs
from app.config import read_table
from app.database import now
from app.operations import operating
from app.operations.readiness import checks

# ``checks`` by id, and ``items``, the lines of the checklist that they belong to.
CHECKLIST = read_table(__file__, "checklist.toml")
COLOURS = {"pass": "green", "fail": "red", "not measured": "yellow"}


def ask(deployment: checks.Deployment, stage: str | None = None) -> list[dict[str, Any]]:
    """The results of all checks, or of one stage's: id, stage, status, evidence, fix and blocks of each."""
    results: dict[str, dict[str, Any]] = {}
    for name, row in CHECKLIST["checks"].items():
        if stage in (None, row["stage"]):
            stood = ((need, results[need]["status"]) for need in row.get("needs", ()) if need in results)
            lacking = next((f"{need}: {status}" for need, status in stood if status != "pass"), "")
            status, evidence = ("not measured", lacking) if lacking else _ask(deployment, name, row)
            found = {"status": status, "evidence": evidence, "fix": row["fix"], "blocks": row.get("blocks", True)}
            results[name] = {"id": name, "stage": row["stage"]} | found
    return list(results.values())


def _ask(deployment: checks.Deployment, name: str, row: dict[str, Any]) -> tuple[str, str]:
    kinds = (kind for kind in ("variables", "probe", "query", "sql", "made") if kind in row)
    function = getattr(checks, next(kinds, name.replace("-", "_")))
    try:
        return "pass", function(deployment, row)
    except checks.NotMeasuredError as reason:
        return "not measured", str(reason)
    except Exception as error:  # whatever it is: it is what was found
        return "fail", str(error) or type(error).__name__


@click.command("ready")
@click.option("--stage", type=click.Choice(("pre", "deploy", "post")), help="Only the checks of this stage.")
@click.option("--url", help="The site, as people reach it; without it this process is asked.")
@click.option("--json", "as_json", is_flag=True, help="A list of results instead of a table.")
@click.option("--strict", is_flag=True, help="What could not be measured counts as failed.")
@operating()
def command(stage: str | None, url: str | None, as_json: bool, strict: bool) -> None:
    """Ask whether this deployment is ready for production; exit status 1 if it is not."""
    results = ask(checks.Deployment(url), stage)
    try:
        jobs.queue().put("ready", {"at": now(), "results": results})  # for the operators' page
    except Exception as error:  # of whichever store; what was found counts without it
        click.echo(f"not recorded: {type(error).__name__}", err=True)
    if as_json:
        click.echo(json.dumps(results, indent=1))
    for result in () if as_json else results:
        line = f"{result['status']:<13}{result['stage']:<7}{result['id']:<18}"
        click.secho(line, fg=COLOURS[result["status"]], nl=False)
        click.echo(result["evidence"] + (f"\n{'':38}-> {result['fix']}" if result["status"] == "fail" else ""))
    bad = ("fail", "not measured") if strict else ("fail",)
    if any(result["status"] in bad and (strict or result["blocks"]) for result in results):
        raise click.exceptions.Exit(1)
