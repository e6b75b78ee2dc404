"""``old_tls.py PORT PEM TARGET``: a front that speaks TLS 1.1 and newer before a site on another loopback port."""

from __future__ import annotations

import asyncio
import ssl
import sys
import warnings
from contextlib import suppress

PORT, PEM, TARGET = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
front.load_cert_chain(PEM)
front.set_ciphers("ALL:@SECLEVEL=0")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    front.minimum_version = ssl.TLSVersion.TLSv1_1
behind = ssl._create_unverified_context()  # noqa: S323


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # either side has hung up
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    site = await asyncio.open_connection("127.0.0.1", TARGET, ssl=behind, server_hostname="localhost")
    await asyncio.gather(pipe(reader, site[1]), pipe(site[0], writer))


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, ssl=front)
    await server.serve_forever()


asyncio.run(main())
