"""A Secret Manager of the test's own, over HTTP: an account's tokens, and versions of secrets that may be refused."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_TOKEN = "token for https://www.googleapis.com/auth/cloud-platform"  # noqa: S105 (of nobody)


class SecretManagerStandIn:
    """What the command asks; `calls` has the names that were asked for, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}  # by the version's name
        self.takes_token = True
        self.gives_token = True
        self.is_silent = False
        self.calls: list[str] = []
        self._over = threading.Event()
        self._key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def keep(self, name: str, secret: bytes, checksum: int) -> None:
        """Let `name` have a payload with this checksum."""
        payload = {"data": base64.b64encode(secret).decode(), "dataCrc32c": str(checksum)}
        self.answers[name] = 200, {"name": name, "payload": payload}

    def refuse(self, name: str, code: int, status: str, message: str) -> None:
        """Let `name` be refused as Google's APIs do."""
        self.answers[name] = code, {"error": {"code": code, "status": status, "message": message}}

    @contextmanager
    def running(self) -> Iterator[SecretManagerStandIn]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                claims = json.loads(base64.urlsafe_b64decode(body["assertion"][0].split(".")[1] + "=="))
                token = {"access_token": f"token for {claims['scope']}", "expires_in": 3600, "token_type": "Bearer"}
                self._tell(*((200, token) if stand_in.gives_token else (400, {"error": "invalid_grant"})))

            def do_GET(self) -> None:
                name = self.path.removeprefix("/v1/").removesuffix(":access")
                stand_in.calls.append(name)
                if stand_in.is_silent:
                    stand_in._over.wait()
                    return
                if not stand_in.takes_token or self.headers["Authorization"] != f"Bearer {_TOKEN}":
                    unknown = {"code": 401, "status": "UNAUTHENTICATED", "message": "Invalid credentials."}
                    self._tell(401, {"error": unknown})
                else:
                    self._tell(*stand_in.answers[name])

            def _tell(self, code: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.api_base = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield self
            finally:
                self._over.set()
                server.shutdown()
                thread.join()

    def write_credentials(self, path: Path) -> None:
        """A service account's key file, whose tokens come from here."""
        account = {"type": "service_account", "client_email": "merchdrop-operator@demo.iam.gserviceaccount.com"}
        path.write_text(
            json.dumps({**account, "private_key": self._key.decode(), "token_uri": f"{self.api_base}/token"})
        )
