"""Settings that refer to Secret Manager: what a command reads there, and what it says when it can't."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cli import secrets
from cli.secrets import SecretError, crc32c, revealed
from tests.command import fail, succeed
from tests.contract.stripe_stand_in import KEY
from tests.secret_manager import SecretManagerStandIn
from tests.till import Till

SETTING = "MERCHDROP_STRIPE_API_KEY"


@pytest.fixture(scope="module")
def server() -> Iterator[SecretManagerStandIn]:
    with SecretManagerStandIn().running() as server:
        yield server


@pytest.fixture
def manager(
    server: SecretManagerStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SecretManagerStandIn]:
    server.write_credentials(tmp_path / "credentials.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("MERCHDROP_SECRET_MANAGER_API_BASE", server.api_base)
    server.calls.clear()
    yield server
    server.takes_token = server.gives_token = True
    server.is_silent = False


@pytest.fixture
def name() -> str:
    """Of a version that no other test has asked for."""
    return f"projects/demo/secrets/key-{uuid4().hex}/versions/3"


def test_the_checksum_is_that_of_the_standard() -> None:
    assert (crc32c(b""), crc32c(b"123456789")) == (0, 0xE3069283)  # RFC 3720, and the check value in use since


def test_a_plain_value_is_itself(manager: SecretManagerStandIn) -> None:
    assert revealed(SETTING, "sk_live_1") == "sk_live_1"
    assert manager.calls == []


def test_a_secret_is_fetched_once(manager: SecretManagerStandIn, name: str) -> None:
    manager.keep(name, "clé".encode(), crc32c("clé".encode()))
    assert [revealed(SETTING, f"sm://{name}") for _ in range(3)] == ["clé"] * 3
    assert manager.calls == [name]


def test_the_database_may_be_a_secret(manager: SecretManagerStandIn, name: str, database_url: str) -> None:
    manager.keep(name, database_url.encode(), crc32c(database_url.encode()))
    assert "already" in succeed("migrate", url=f"sm://{name}")
    assert manager.calls == [name]  # though the command needs it twice


def test_a_url_that_is_none_is_not_told(manager: SecretManagerStandIn, name: str) -> None:
    url = b"postgresql://owner:secret/word@127.0.0.1/x"
    manager.keep(name, url, crc32c(url))
    told = fail("migrate", url=f"sm://{name}")
    assert "percent-encoded" in told
    assert "secret/word" not in told


async def test_stripes_key_may_be_a_secret(
    manager: SecretManagerStandIn, name: str, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, f"sm://{name}")
    manager.keep(name, KEY.encode(), crc32c(KEY.encode()))
    await till.charged()
    assert (await till.tell("payments", "check", till.drop_id))["there"]["captured_minor"] == 3500
    assert manager.calls == [name]


async def test_a_cancellation_is_written_down_without_the_key(
    manager: SecretManagerStandIn, name: str, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await till.charged(card="pm_card_authenticationRequired")
    monkeypatch.setenv(SETTING, f"sm://{name}")
    manager.refuse(name, 403, "PERMISSION_DENIED", "Permission denied.")
    result = await till.run("order", "cancel", one)
    assert "It can't be called off from here: no payment provider: MERCHDROP_STRIPE_API_KEY" in result.stderr
    assert (result.exit_code, "reconcile goes on" in result.stdout) == (3, True)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("sm://projects/demo/secrets/key/versions/latest", "must name a version by its number"),
        ("sm://projects/demo/secrets/key", "is no reference"),
        ("sm://projects/demo/secrets/key/versions/0", "is no reference"),
        ("sm://projects/demo/secrets/key/versions/1?x=/../2", "is no reference"),
        ("sm://demo/key/1", "sm://projects/PROJECT/secrets/NAME/versions/NUMBER is expected"),
    ],
)
def test_a_bad_reference_asks_nobody(manager: SecretManagerStandIn, reference: str, words: str) -> None:
    assert words in _refusal(reference)
    assert manager.calls == []


@pytest.mark.parametrize(
    ("code", "status", "words", "advice"),
    [
        (400, "FAILED_PRECONDITION", "Secret Version is in DISABLED state.", "versions enable 3 --secret=key-"),
        (403, "PERMISSION_DENIED", "Permission denied.", "needs the role secretmanager.secretAccessor on key-"),
        (404, "NOT_FOUND", "Secret Version not found.", "`gcloud secrets versions list key-"),
        (503, "UNAVAILABLE", "Come again.", "try again in a moment"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(
    manager: SecretManagerStandIn, name: str, code: int, status: str, words: str, advice: str
) -> None:
    manager.refuse(name, code, status, words)
    told = _refusal(f"sm://{name}")
    assert told.startswith(f"{SETTING}: {name} can't be read: {words}; ")
    assert advice in told


def test_a_refusal_is_not_kept(manager: SecretManagerStandIn, name: str) -> None:
    manager.refuse(name, 503, "UNAVAILABLE", "Come again.")
    _refusal(f"sm://{name}")
    manager.keep(name, b"sk", crc32c(b"sk"))
    assert revealed(SETTING, f"sm://{name}") == "sk"


def test_an_error_that_is_not_googles_is_told_by_its_status(manager: SecretManagerStandIn, name: str) -> None:
    manager.answers[name] = 502, {"hello": "proxy"}
    assert "HTTP status 502; try again" in _refusal(f"sm://{name}")


def test_credentials_that_are_not_taken_are_told(manager: SecretManagerStandIn, name: str) -> None:
    manager.takes_token = False
    assert "the credentials were not accepted" in _refusal(f"sm://{name}")


def test_an_account_without_tokens_is_told(manager: SecretManagerStandIn, name: str) -> None:
    manager.gives_token = False
    assert "no access token could be had (RefreshError)" in _refusal(f"sm://{name}")
    assert manager.calls == []


def test_without_credentials_the_way_to_some_is_told(
    manager: SecretManagerStandIn, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert "gcloud auth application-default login" in _refusal(f"sm://{name}")


def test_a_silent_server_is_given_up(manager: SecretManagerStandIn, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "SECONDS", 0.2)
    manager.is_silent = True
    assert "does not answer (ReadTimeout)" in _refusal(f"sm://{name}")
    assert manager.calls == [name]


def test_a_server_that_is_not_there_is_told(
    manager: SecretManagerStandIn, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("MERCHDROP_SECRET_MANAGER_API_BASE", f"http://127.0.0.1:{port}")
    assert "does not answer (ConnectionError)" in _refusal(f"sm://{name}")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"data": base64.b64encode(b"sk").decode(), "dataCrc32c": str(crc32c(b"sk") ^ 1)}, "damaged on the way"),
        ({"data": base64.b64encode(b"sk").decode()}, "can't be read; try again"),
        ({"data": "c2s=!", "dataCrc32c": str(crc32c(b"sk"))}, "can't be read; try again"),
        ({"data": base64.b64encode(b"\xff").decode(), "dataCrc32c": str(crc32c(b"\xff"))}, "no text in UTF-8"),
    ],
    ids=["another checksum", "no checksum", "no base64", "no text"],
)
def test_a_payload_that_is_not_sound_is_not_used(
    manager: SecretManagerStandIn, name: str, payload: dict[str, str], words: str
) -> None:
    manager.answers[name] = 200, {"name": name, "payload": payload}
    assert words in _refusal(f"sm://{name}")


def test_a_command_tells_it(manager: SecretManagerStandIn, name: str) -> None:
    manager.refuse(name, 404, "NOT_FOUND", "Secret Version not found.")
    assert f"Error: MERCHDROP_DATABASE_URL: {name} can't be read" in fail("drop", "list", url=f"sm://{name}")


def _refusal(reference: str) -> str:
    with pytest.raises(SecretError) as caught:
        revealed(SETTING, reference)
    return caught.value.message
