"""A Cloud SQL of the test's own: tokens, the Admin API, and before PostgreSQL a proxy that wants a certificate.

It runs in a thread, on its own event loop: the client blocks its loop while it fetches a token.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from common.settings import CloudSqlLogin
from local.machine import free_port

INSTANCE = "demo:europe-west1:merchdrop"
USER = "merchdrop-checkout@demo.iam"
PROXY_PORT = 3307  # the connector knows no other, so each test has an address of its own
CHUNK_BYTES = 65_536
_ADMIN = "https://www.googleapis.com/auth/sqlservice.admin"
_LOGIN = "https://www.googleapis.com/auth/sqlservice.login"


class CloudSqlStandIn:
    """What the connector talks to; `calls` has the Admin API's, in order."""

    def __init__(self, directory: Path, postgres_port: int) -> None:
        self.host = "127." + ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))  # loopback, all of it
        self.port = free_port()
        self.calls: list[str] = []
        self.hangs = threading.Event()  # while set, the Admin API does not answer
        self.status = 200
        self.region = "europe-west1"
        self._postgres_port = postgres_port
        self._key = rsa.generate_private_key(65537, 2048)
        self._ca = self._certificate(self._key.public_key(), is_ca=True)
        self._tls = self._server_tls(directory)
        self.credentials = directory / "credentials.json"
        self.credentials.write_text(json.dumps(self._account()))

    @property
    def login(self) -> CloudSqlLogin:
        return CloudSqlLogin(INSTANCE, USER, f"http://127.0.0.1:{self.port}")

    @contextmanager
    def running(self) -> Iterator[CloudSqlStandIn]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        runner, proxy = asyncio.run_coroutine_threadsafe(self._start(), loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(runner, proxy), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> tuple[web.AppRunner, asyncio.Server]:
        app = web.Application()
        instance = "/sql/v1beta4/projects/demo/instances/merchdrop"
        app.router.add_post("/token", self._token)
        app.router.add_get(f"{instance}/connectSettings", self._settings)
        app.router.add_post(f"{instance}:generateEphemeralCert", self._ephemeral)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return runner, await asyncio.start_server(self._pass_on, self.host, PROXY_PORT, ssl=self._tls)

    async def _stop(self, runner: web.AppRunner, proxy: asyncio.Server) -> None:
        proxy.close()
        await runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _token(self, request: web.Request) -> web.Response:
        """A token that tells its scope, for the account's signed assertion."""
        payload = str((await request.post())["assertion"]).split(".")[1]
        scope = json.loads(base64.urlsafe_b64decode(payload + "=="))["scope"]
        return web.json_response({"access_token": f"token for {scope}", "expires_in": 3600, "token_type": "Bearer"})

    async def _settings(self, request: web.Request) -> web.Response:
        return await self._answer(
            request,
            "connectSettings",
            {
                "region": self.region,
                "databaseVersion": "POSTGRES_18",
                "ipAddresses": [{"type": "PRIVATE", "ipAddress": self.host}],
                "serverCaCert": {"cert": _pem(self._ca)},
            },
        )

    async def _ephemeral(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted.get("access_token") != f"token for {_LOGIN}":
            return web.json_response({"error": {"message": "no token to log in with"}}, status=403)
        key = serialization.load_pem_public_key(wanted["public_key"].encode())
        return await self._answer(
            request, "generateEphemeralCert", {"ephemeralCert": {"cert": _pem(self._certificate(key))}}
        )

    async def _answer(self, request: web.Request, call: str, document: dict[str, Any]) -> web.Response:
        self.calls.append(call)
        while self.hangs.is_set():  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.01)
        if request.headers.get("Authorization") != f"Bearer token for {_ADMIN}":
            return web.json_response({"error": {"message": "no token for the Admin API"}}, status=401)
        return web.json_response(document if self.status == 200 else {"error": {"message": "no"}}, status=self.status)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Between a client whose certificate is ours, and PostgreSQL."""
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._postgres_port)
        try:
            with suppress(OSError):
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            for end in (writer, there_writer):
                end.transport.abort()
                with suppress(OSError):
                    await end.wait_closed()

    def _certificate(self, key: Any, *, is_ca: bool = False) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cloud SQL of a test" if is_ca else "somebody")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name if is_ca else self._ca.subject)
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(hours=1))
        constraints = x509.BasicConstraints(ca=is_ca, path_length=None)
        return builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())

    def _server_tls(self, directory: Path) -> ssl.SSLContext:
        key = rsa.generate_private_key(65537, 2048)
        chain = directory / "server.pem"
        chain.write_text(_private(key) + _pem(self._certificate(key.public_key())))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=_pem(self._ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(chain)
        return context

    def _account(self) -> dict[str, str]:
        return {
            "type": "service_account",
            "client_email": f"{USER}.gserviceaccount.com",
            "private_key": _private(self._key),
            "token_uri": f"http://127.0.0.1:{self.port}/token",
        }


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _private(key: rsa.RSAPrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
