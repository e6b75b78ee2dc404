"""A site asked over https as anyone on the internet can ask it, and a mailbox for the links that it sends."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.cookies import SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from live import free_port

PASSWORD = "correct horse battery"
PAGE = "text/html,application/xhtml+xml"


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status, self.headers = response.status, response.headers
        self.text = response.read().decode(errors="replace")

    @property
    def location(self) -> str:
        return urlsplit(self.headers["Location"] or "").path


class Guest:
    """Someone on the internet, with a browser's cookies."""

    def __init__(self, url: str, authority: Path | None):
        self.url, self.authority = urlsplit(url), authority
        self.context = ssl.create_default_context(cafile=authority and str(authority))
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {"Accept": PAGE, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())} | headers
        connection = http.client.HTTPSConnection(
            self.url.hostname or "", self.url.port, context=self.context, timeout=30
        )
        try:
            connection.request(method, path, body, {name: value for name, value in headers.items() if value})
            answer = Answer(connection.getresponse())
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(cookie).items()}
        return answer

    def token(self) -> str:
        return str(json.loads(self.ask("/account/csrf", Accept="application/json").text)["token"])

    def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> Answer:
        """As this site's own pages do: with the token and, over https, the referrer."""
        own = {
            "X-CSRFToken": self.token(),
            "Referer": self.url.geturl() + "/",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.ask(path, "POST", urlencode(form), **(own | (headers or {})))


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append(b"".join(line.removeprefix(b".") for line in lines))  # type: ignore[attr-defined]
            if line == b"QUIT":
                return
            self.wfile.write(b"250 ok\r\n")


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.mails: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"

    def link(self, recipient: str, path: str) -> str:
        """The newest link under *path* that was mailed to someone; waits for it."""
        for _ in range(200):
            for mail in reversed(self.mails):
                message = message_from_bytes(mail)
                if message["To"] == recipient:
                    text = message.get_payload()[0].get_payload(decode=True).decode()
                    if found := re.findall(rf"https://[^/\s]+({path}/\S+)", text):
                        return str(found[0])
            time.sleep(0.05)
        raise AssertionError(f"no link under {path} was mailed to {recipient}")

    def sign_up(self, guest: Guest) -> str:
        """A new account, signed in by the mailed link; its address."""
        email = f"{uuid.uuid4().hex[:12]}@example.com"
        answer = guest.post("/register", email=email, password=PASSWORD)
        assert answer.status == 302, answer.text
        assert guest.ask(self.link(email, "/confirm")).location == "/chat"
        return email


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for this machine that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(today - timedelta(days=1))
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    signed = (
        builder.not_valid_after(today + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return paths


def caddy() -> str | None:
    return shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")


def start_proxy(folder: Path, target: int) -> tuple[subprocess.Popen[bytes], str, Path]:
    """Caddy in front of a local port: its process, the site's https address and the certificate to trust."""
    cert, key = certificate(folder)
    port = free_port()
    configuration = folder / "Caddyfile"
    configuration.write_text(
        "{\n\tadmin off\n\tauto_https off\n}\n"
        f"https://localhost:{port} {{\n\ttls {cert} {key}\n\treverse_proxy 127.0.0.1:{target}\n}}\n"
    )
    command = [caddy() or "caddy", "run", "--config", str(configuration), "--adapter", "caddyfile"]
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "caddy.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    return process, f"https://localhost:{port}", cert
