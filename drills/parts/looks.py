"""What the proxy of a site shows to those who ask it: TLS, headers, traces, streams."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import ssl
import time
import tomllib
import uuid
from collections.abc import Iterator
from http.client import HTTPResponse
from urllib.parse import urlencode

from parts.site import PASSWORD, PORTS, Site

HTTPS, HTTP = int(PORTS["HTTPS_PORT"]), int(PORTS["HTTP_PORT"])


def ask(
    context: ssl.SSLContext | None, method: str, path: str, body: str | None = None, **headers: str
) -> HTTPResponse:
    """One answer, its body not yet read; without a context by plain http."""
    connection = (
        http.client.HTTPSConnection("localhost", HTTPS, context=context, timeout=30)
        if context
        else http.client.HTTPConnection("localhost", HTTP, timeout=30)
    )
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def tls_problems(site: Site, context: ssl.SSLContext) -> Iterator[str]:
    """TLS 1.2 and 1.3 are spoken, 1.1 is not."""
    for version, wanted in (
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ):
        told = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        told.check_hostname, told.verify_mode = False, ssl.CERT_NONE
        told.set_ciphers("ALL:@SECLEVEL=0")
        told.minimum_version = told.maximum_version = version
        try:
            with (
                socket.create_connection(("localhost", HTTPS), 10) as raw,
                told.wrap_socket(raw, server_hostname="localhost"),
            ):
                spoken = True
        except (ssl.SSLError, ConnectionError):
            spoken = False
        if spoken != wanted:
            yield f"{version.name} is {'spoken' if spoken else 'not spoken'}"


def header_problems(site: Site, context: ssl.SSLContext, down: bool = False) -> Iterator[str]:
    """Every answer, whoever gives it, carries the application's header set."""
    table = tomllib.loads((site.project / "src/app/security/headers.toml").read_text())
    # A directive that allows the nonce alone allows nothing where there is none.
    policy = "; ".join(f"""{name} {value or "'none'"}""" for name, value in table["content-security-policy"].items())
    permissions = ", ".join(f"{name}={value}" for name, value in table["permissions-policy"].items())
    wanted = table["others"] | {"Content-Security-Policy": policy, "Permissions-Policy": permissions}
    asked = {"redirect": (None, "/login", 308), "page": (context, "/login", 503 if down else 200)}
    asked |= {"files": (context, "/nothing", 503)} if down else {"missing": (context, "/nothing", 404)}
    for what, (by, path, status) in asked.items():
        answer = ask(
            by, "GET", path, Accept="text/html" if what == "page" else "application/json", Accept_Encoding="gzip"
        )
        body = answer.read()
        if answer.status != status:
            yield f"{what}: {answer.status}, not {status}"
        for name, value in wanted.items():
            found = re.sub(r" 'nonce-[^']+'", "", answer.headers.get(name, ""))
            found = re.sub(r"((?:^|; )script-src)\s*(?=;|$)", r"\1 'none'", found)
            if found != value and not (name == "Strict-Transport-Security" and by is None):
                yield f"{what}: {name} is {found!r}, not {value!r}"
        if down and by and answer.headers.get("Retry-After") != "5":
            yield f"{what}: no Retry-After"
        if what == "page" and answer.headers.get("Content-Encoding") != "gzip" and len(body) > 600:
            yield "the page is not compressed"
    if down:
        print("page, problem and redirect carry the header set", flush=True)
        return
    too_large = ask(context, "POST", "/login", "x" * 9_000_000, Content_Type="application/x-www-form-urlencoded")
    if too_large.status != 413 or too_large.headers.get("X-Frame-Options") != "DENY":
        yield f"a body of 9 MB: {too_large.status}"


def trace_problems(site: Site, context: ssl.SSLContext) -> Iterator[str]:
    """The application trusts traces in this drill; a client's must not reach it through the proxy."""
    forged = "c0ffee00" * 4
    headers = {"traceparent": f"00-{forged}-c0ffee00c0ffee00-01", "Accept": "application/json"}
    through = json.loads(ask(context, "GET", "/nothing", **headers).read())["trace_id"]
    code = (
        "import json, urllib.request as r, urllib.error as e\n"
        f"try: r.urlopen(r.Request('http://127.0.0.1:8000/nothing', headers={headers!r}))\n"
        "except e.HTTPError as error: print(json.load(error)['trace_id'])"
    )
    direct = site.compose("exec", "-T", site.live, "python", "-c", code).strip()
    if direct != forged:
        yield f"the application does not take over a trace that it is to trust: {direct}"
    if through == forged:
        yield "a client chooses its trace"


def stream_problems(site: Site, context: ssl.SSLContext) -> Iterator[str]:
    """An answer's events arrive one by one, not when a buffer is full."""
    site.accounts()
    cookies: dict[str, str] = {}

    def said(method: str, path: str, **form: str) -> HTTPResponse:
        told = {"Accept": "application/json", "Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())}
        told |= {"Referer": f"https://localhost:{HTTPS}/", "Content_Type": "application/x-www-form-urlencoded"}
        if form:
            told["X_CSRFToken"] = json.loads(said("GET", "/account/csrf").read())["token"]
            told["Cookie"] = "; ".join(f"{k}={v}" for k, v in cookies.items())
        answer = ask(context, method, path, urlencode(form) if form else None, **told)
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
        return answer

    said("POST", "/login", email="p0@example.com", password=PASSWORD).read()
    answer = said("POST", "/chat", text="count to 30", client_key=str(uuid.uuid4()))
    events = re.findall(r'data-events="([^"]+)"', json.loads(answer.read())["messages"])[0]
    began, arrived = time.monotonic(), []
    stream = said("GET", events)
    while chunk := stream.read1():
        arrived += [time.monotonic() - began] * chunk.count(b"event: text")
    gaps = [b - a for a, b in itertools.pairwise(arrived)]
    print(f"  a stream: {len(arrived)} events in {arrived[-1]:.1f} s, first after {arrived[0]:.2f} s", flush=True)
    if len(arrived) < 10 or max(gaps) > arrived[-1] / 2:
        yield f"the stream is buffered: {arrived}"
