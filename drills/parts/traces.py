"""A sign-up, an answer with a tool, a stop, an approval and a failure behind a real proxy on two workers: one tree of
spans each at an OTLP receiver, no orphan, and nothing that people or models wrote unless that is switched on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

from fake_provider import STALL, call, say, status
from live import free_port
from served import Served, Visitor, finish, question, table
from support import wait_until

SINK = Path(__file__).parents[1] / "otlp_sink.py"
WORDS = ("surprise party", "marzipan cake", "needs candles")  # of the person, of the model, of a tool's argument
JSON = {"Accept": "application/json"}
Spans = list[dict[str, Any]]
# For each thing done: the root of its trace, and spans that are below it.
WANTED = {
    "sign-up": ("POST /register", {"signed up", "INSERT"}),
    "answer with a tool": (
        "POST /chat/<uuid:conversation_id>/messages",
        {"run", "invoke_agent", "chat ", "execute_tool search_my_conversations", "save answer", "INSERT", "SELECT"},
    ),
    "stop": ("POST /runs/<uuid:run_id>/stop", {"stop", "UPDATE"}),
    "approval": ("POST /tool-calls/<uuid:call_id>/decision", {"execute_tool delete_conversation", "save answer"}),
    "failure": ("POST /chat/<uuid:conversation_id>/messages", {"run", "invoke_agent", "save answer"}),
}


def ask(visitor: Visitor, conversation: str, text: str) -> str:
    """Ask once more in a conversation, which has its title already; the id of the run."""
    form = {"text": text, "client_key": str(uuid.uuid4())}
    body = json.loads(visitor.post(f"/chat/{conversation}/messages", JSON, **form).text)
    return piece(body["messages"], "/runs/")


def piece(page: str, before: str, length: int = 36) -> str:
    return page.partition(before)[2][:length]


def over(visitor: Visitor, run: str) -> None:
    wait_until(lambda: json.loads(visitor.ask(f"/runs/{run}").text)["status"] != "running", 60)


def use(served: Served) -> dict[str, str]:
    """Each thing once; the id of the run, or none, by what was done."""
    visitor, _ = served.member()
    model, runs = served.model, {"sign-up": ""}
    conversation, _ = question(visitor, f"What about the {WORDS[0]}?")
    wait_until(lambda: len(model.requests) == 2, 60)  # one of them asks for a title
    model.will(call("search_my_conversations", json.dumps({"words": WORDS[2]})))
    model.will(say(f"A {WORDS[1]}."))
    run = runs["answer with a tool"] = ask(visitor, conversation, f"Is there a {WORDS[0]}?")
    over(visitor, run)
    model.will(say(f"A {WORDS[1]} "), STALL)
    run = runs["stop"] = ask(visitor, conversation, f"Once more: {WORDS[0]}")
    time.sleep(1)
    visitor.post(f"/runs/{run}/stop", JSON)
    over(visitor, run)
    model.will(call("delete_conversation", json.dumps({"title": WORDS[2]})))
    run = runs["approval"] = ask(visitor, conversation, f"Delete the {WORDS[0]}")
    over(visitor, run)
    call_id = piece(visitor.ask(f"/chat/{conversation}").text, "/tool-calls/")
    model.will(say(f"No {WORDS[1]}."))
    decided = visitor.post(f"/tool-calls/{call_id}/decision", JSON, decision="approve")
    assert decided.status < 400, decided.text
    over(visitor, run)
    for _ in range(4):
        model.will(status(401))
    run = runs["failure"] = ask(visitor, conversation, f"And the {WORDS[0]}?")
    over(visitor, run)
    return runs


def exported(port: int) -> Spans:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return list(json.load(answer))


def observe(content: bool) -> tuple[Spans, dict[str, str], list[str]]:
    """All spans of what was done, the runs, and faults in the log."""
    port = free_port()
    sink = subprocess.Popen([sys.executable, str(SINK), str(port)])
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "500"}
    try:
        with Served(workers=2, TRACE_CONTENT=str(content).lower(), **told) as served:
            runs = use(served)
            time.sleep(5)
            return exported(port), runs, served.faults()
    finally:
        sink.terminate()
        sink.wait()


def below(spans: Spans, root: dict[str, Any]) -> Spans:
    children = defaultdict(list)
    for span in spans:
        children[span["parent"]].append(span)
    found, waiting = [], [root]
    while waiting:
        span = waiting.pop()
        found.append(span)
        waiting += children[span["span"]]
    return found


def trees(spans: Spans, runs: dict[str, str]) -> list[str]:
    """One row for each thing that was done; what is wrong with it."""
    rows, problems = [("what", "root", "spans below", "processes")], []
    for what, (name, wanted) in WANTED.items():
        roots = [span for span in spans if span["name"] == name and not span["parent"]]
        mine = [root for root in roots if not runs[what] or any(runs[what] in s["text"] for s in below(spans, root))]
        tree = below(spans, mine[0]) if mine else []
        missing = {each for each in wanted if not any(span["name"].startswith(each) for span in tree)}
        rows.append((what, name, len(tree) - 1, len({span["trace"] for span in tree})))
        problems += [f"{what}: {len(mine)} traces"] if len(mine) != 1 else []
        problems += [f"{what}: nothing called {', '.join(sorted(missing))}"] if missing else []
    table(*(row[:3] for row in rows))
    return problems


def main() -> None:
    spans, runs, problems = observe(content=False)
    problems += trees(spans, runs)
    known = {span["span"] for span in spans}
    orphans = [span["name"] for span in spans if span["parent"] and span["parent"] not in known]
    told = sorted({words for words in WORDS for span in spans if words in span["text"]})
    with_content, _, faults = observe(content=True)
    there = sorted({words for words in WORDS for span in with_content if words in span["text"]})
    table(
        ("spans, traces", f"{len(spans)}, {len({span['trace'] for span in spans})}"),
        ("spans whose parent is not there", len(orphans)),
        ("what was written, in spans", ", ".join(told) or "none"),
        ("the same, switched on", ", ".join(there)),
    )
    problems += [f"orphan: {name}" for name in orphans[:5]] + [f"told: {words}" for words in told] + faults
    problems += [f"not told although switched on: {words}" for words in WORDS if words not in there]
    finish([problem for problem in problems if "401" not in problem])


if __name__ == "__main__":
    main()
