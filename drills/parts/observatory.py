"""MDN's HTTP Observatory and Google's CSP Evaluator on the front page, the sign-in page and a conversation.

``observatory.py TOOLS``, a folder that npm has installed them in. The chat is seen through a proxy that adds the cookie
of somebody signed in; a page whose policy is replaced by a weak one shows that both notice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from served import Served, finish, question, table

LEAST = 130
WEAK = "script-src * 'unsafe-inline'"


def examine(tools: str, served: Served, site: str, path: str) -> dict[str, Any]:
    """What both say of one page."""
    script = str(Path(__file__).with_suffix(".mjs"))
    command = ["node", script, tools, site.removeprefix("https://"), path]
    trust = {"NODE_EXTRA_CA_CERTS": str(served.authority)}
    done = subprocess.run(command, env=os.environ | trust, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def serious(found: dict[str, Any]) -> list[str]:
    """What the evaluator says above "info"; its smaller numbers are worse."""
    return [f"{name} {text}" for name, severity, text in found["csp"] if severity < found["info"]]


def main(tools: str) -> None:
    with Served() as served:
        member, _ = served.member()
        conversation, _ = question(member)
        cookie = "; ".join(f"{name}={value}" for name, value in member.cookies.items())
        inside = served.front(cookie)
        pages = [(served.url, "/"), (served.url, "/login"), (inside, "/chat"), (inside, f"/chat/{conversation}")]
        seen = [examine(tools, served, site, path) for site, path in pages]
        weak = examine(tools, served, served.front(policy=WEAK), "/login")
        faults = served.faults()
    rows = []
    for found in [*seen, weak]:
        worst = max(found["csp"], key=lambda each: -each[1], default=("nothing", 0, ""))[0]
        title = found["title"] if found is not weak else f"{found['title']} (with a weak policy of the drill's own)"
        rows.append((found["url"], title, found["status"], found["grade"], found["score"], worst))
    table(("page", "title", "status", "grade", "points", "csp_evaluator's worst"), *rows)
    problems = [
        f"{found['url']}: {found['grade']} {found['score']} {[t for t in found['tests'] if not t[1]]} {serious(found)}"
        for found in seen
        if found["grade"] != "A+" or found["score"] < LEAST or found["status"] != 200 or serious(found)
    ]
    if [found["signed_in"] for found in seen] != [False, False, True, True]:
        problems.append("the pages that were scanned are not those that were meant")
    if weak["grade"] == "A+" or not serious(weak):
        problems.append("a weak policy was not noticed")
    finish([*problems, *faults[:5]])


if __name__ == "__main__":
    main(sys.argv[1])
