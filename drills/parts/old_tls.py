"""``old_tls.py PORT PEM TARGET``: a front that speaks TLS 1.1 and newer before a site on another loopback port."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import warnings

PORT, PEM, TARGET = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
front.load_cert_chain(PEM)
front.set_ciphers("ALL:@SECLEVEL=0")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    front.minimum_version = ssl.TLSVersion.TLSv1_1
behind = ssl._create_unverified_context()  # noqa: S323


def pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either side has hung up


def serve(plain: socket.socket) -> None:
    try:
        client = front.wrap_socket(plain, server_side=True)
    except OSError:
        return
    site = behind.wrap_socket(socket.create_connection(("127.0.0.1", TARGET)), server_hostname="localhost")
    threading.Thread(target=pipe, args=(site, client), daemon=True).start()
    pipe(client, site)


with socket.create_server(("127.0.0.1", PORT)) as server:
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
