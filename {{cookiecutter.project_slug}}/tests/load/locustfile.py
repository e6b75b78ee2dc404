"""People who sign in, look at pages, ask, and read each answer to its end; the run fails when a budget is missed."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Any

from locust import HttpUser, between, events, task

# Milliseconds that 95 of 100 may take, by what is measured. Change them to what your users expect.
BUDGETS = {
    "page": float(os.environ.get("LOAD_PAGE_MS", "500")),
    "sign-in": float(os.environ.get("LOAD_SIGN_IN_MS", "1500")),
    "ask": float(os.environ.get("LOAD_ASK_MS", "1000")),
    "first words": float(os.environ.get("LOAD_FIRST_WORDS_MS", "2000")),
}
EMAIL, PASSWORD = os.environ.get("LOAD_EMAIL", ""), os.environ.get("LOAD_PASSWORD", "correct horse battery")
QUESTION = os.environ.get("LOAD_QUESTION", "count to 20")
FETCH = {"Accept": "application/json"}


class Person(HttpUser):
    """Signs in once; then one question to four looks at a page, with pauses as people make them."""

    wait_time = between(1, 4)
    page = "/chat"

    def post(self, path: str, name: str, **form: str) -> Any:
        token = self.client.get("/account/csrf", headers=FETCH, name="token").json()["token"]
        headers = FETCH | {"X-CSRFToken": token, "Referer": f"{self.host}/"}
        return self.client.post(path, form, headers=headers, name=name, allow_redirects=False)

    def on_start(self) -> None:
        if EMAIL:  # an account of the site that is tested
            self.post("/login", "sign-in", email=EMAIL, password=PASSWORD)
        else:  # in development signing up signs in
            self.post("/register", "sign-in", email=f"load-{uuid.uuid4().hex}@example.com", password=PASSWORD)

    @task(4)
    def look(self) -> None:
        self.client.get(self.page, headers={"Accept": "text/html"}, name="page")

    @task
    def ask(self) -> None:
        answer = self.post("/chat", "ask", text=QUESTION, client_key=str(uuid.uuid4()))
        if answer.status_code == 201:
            self.page = answer.json()["url"]
            self.read(re.findall(r'data-events="([^"]+)"', answer.json()["messages"])[0])

    def read(self, url: str) -> None:
        """Read a stream; when it brought its first words is a measurement of its own, its end another."""
        began, first, ended = time.perf_counter(), 0.0, False
        told = {"Accept": "text/event-stream"}
        with self.client.get(url, stream=True, headers=told, name="stream", catch_response=True) as stream:
            for line in stream.iter_lines():
                first = first or (time.perf_counter() - began if line.startswith(b"event: text") else 0.0)
                ended = ended or bool(re.match(rb"event: (done|stopped|error|interrupted|waiting)", line))
            if ended:
                stream.success()
            else:
                stream.failure("the stream ended without saying how")
        for name, seconds in (("first words", first), ("whole answer", time.perf_counter() - began)):
            measured = {"response_time": 1000 * seconds, "response_length": 0, "exception": None}
            events.request.fire(request_type="SSE", name=name, context={}, **measured)


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """Exit with an error when anything failed or was too slow."""
    stats = environment.stats
    found = {entry.name: entry.get_response_time_percentile(0.95) or 0 for entry in stats.entries.values()}
    missed = [f"{name}: {found.get(name, 0):.0f} ms, {most:.0f} allowed" for name, most in BUDGETS.items()
              if not 0 < found.get(name, 0) <= most]  # fmt: skip
    if stats.total.num_failures:
        missed.append(f"{stats.total.num_failures} of {stats.total.num_requests} requests failed")
    print("Budgets kept." if not missed else "Budgets missed: " + "; ".join(missed), flush=True)  # noqa: T201
    environment.process_exit_code = 1 if missed else 0
