"""docs/checklist.md (``python tests/checklist_table.py`` prints it), from the registry that ``flask ready`` asks."""

from __future__ import annotations

import sys

from app.operations.readiness import CHECKLIST

HEAD = """\
# The checklist

Made by `make docs` from `src/app/operations/readiness/checklist.toml`, which `flask ready` asks of a deployment:

```sh
flask ready --url https://chat.example.org         # everything; --stage pre, deploy or post for a part of it
flask ready --url https://chat.example.org --json  # a list of {id, stage, status, evidence, fix, blocks}
```

It passes nothing that it has not measured, and says why it could not. Exit status 1: a blocking check failed; with
`--strict` also when something was not measured. Operators see the last result at `/admin/readiness`.

"""


def cell(path: str) -> str:
    file, _, test = path.partition("::")
    return f"[{test or file}](../{file})"


def as_markdown() -> str:
    """Every line of the checklist with its code, its test and what `flask ready` asks of it."""
    checks = CHECKLIST["checks"]
    lines = [HEAD, "| | done | code | test | asked by `flask ready` |\n| --- | --- | --- | --- | --- |\n"]
    for item, (title, code, test) in CHECKLIST["items"].items():
        asked = ", ".join(f"`{name}`" for name, row in checks.items() if row["item"] == item)
        lines.append(f"| {item} | {title} | {cell(code)} | {cell(test)} | {asked} |\n")
    lines.append("\n| check | when | what to do when it fails |\n| --- | --- | --- |\n")
    lines += [f"| `{name}` | {row['stage']} | {row['fix'].replace('|', '')} |\n" for name, row in checks.items()]
    return "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
