"""Settings whose value is in Secret Manager: `sm://` and the full name of a version, as Google's tools print it.

Only numbered versions are taken. `latest` would mean another secret from one command to the next, and not the one that
the functions run with, which are deployed with a number.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from requests import Response

SCHEME = "sm://"
FORM = f"{SCHEME}projects/PROJECT/secrets/NAME/versions/NUMBER"
API_BASE = "https://secretmanager.googleapis.com"
SECONDS = 5.0  # for the server to take a connection, and again to answer; it needs a fraction of a second
SECONDS_MAX = 15.0  # for everything: a token, the secret, and both again if the token was refused

_NAME = re.compile(r"projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/[1-9][0-9]{0,18}")
_LATEST = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/latest")
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_CASTAGNOLI = 0x82F63B78  # CRC32C's polynomial, lowest bit first


class SecretError(click.ClickException):
    """A secret can't be had; the text names the setting, and says what to do."""


def revealed(setting: str, value: str) -> str:
    """The value of a setting, or the secret that it refers to, which is fetched once.

    Raises:
        SecretError: the reference is none, or Secret Manager does not give the secret.
    """
    if not value.startswith(SCHEME):
        return value
    name = value.removeprefix(SCHEME)
    if _LATEST.fullmatch(name):
        raise SecretError(
            f"{setting} must name a version by its number, as the functions' settings do: `latest` may be another one"
            " tomorrow"
        )
    if not _NAME.fullmatch(name):
        raise SecretError(f"{setting} is no reference to a secret's version; {FORM} is expected")
    try:
        return _fetch(name, environ.get("MERCHDROP_SECRET_MANAGER_API_BASE") or API_BASE)
    except SecretError as error:
        raise SecretError(f"{setting}: {name} can't be read: {error.message}") from error


@lru_cache
def _fetch(name: str, api_base: str) -> str:
    # Half a second to import, which commands without a reference need not spend.
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests import RequestException

    try:
        with _session() as session:
            url = f"{api_base}/v1/{name}:access"
            answer = session.request("GET", url, timeout=SECONDS, max_allowed_time=SECONDS_MAX)
    except DefaultCredentialsError as error:
        raise SecretError(
            "there are no Google credentials here; `gcloud auth application-default login` makes some"
        ) from error
    except GoogleAuthError as error:
        raise SecretError(f"no access token could be had ({type(error).__name__}); try again in a moment") from error
    except RequestException as error:
        raise SecretError(f"Secret Manager does not answer ({type(error).__name__}); try again in a moment") from error
    if answer.status_code != 200:
        raise SecretError(_refusal(name, answer))
    return _payload(answer)


def _session() -> Any:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=_SCOPES)
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]


def _refusal(name: str, answer: Response) -> str:
    """Why, in Google's words, and what to do; an error never quotes the secret."""
    try:
        told: Any = answer.json()["error"]
        status, words = str(told.get("status")), str(told.get("message"))
    except (ValueError, LookupError, TypeError, AttributeError):
        status, words = "", f"HTTP status {answer.status_code}"
    _, _, _, secret, _, version = name.split("/")
    match answer.status_code, status:
        case 400, "FAILED_PRECONDITION":
            advice = f"`gcloud secrets versions enable {version} --secret={secret}`, or name another version"
        case 401, _:
            advice = "the credentials were not accepted: `gcloud auth application-default login` makes new ones"
        case 403, _:
            advice = f"the account that runs this needs the role secretmanager.secretAccessor on {secret}"
        case 404, _:
            advice = f"`gcloud secrets versions list {secret}` tells which there are"
        case _:
            advice = "try again in a moment"
    return f"{words}; {advice}"


def _payload(answer: Response) -> str:
    """The secret, if it is what Secret Manager has stored."""
    try:
        payload = answer.json()["payload"]
        data, checksum = base64.b64decode(payload["data"], validate=True), int(payload["dataCrc32c"])
    except (ValueError, LookupError, TypeError) as error:
        raise SecretError("Secret Manager's answer can't be read; try again in a moment") from error
    if crc32c(data) != checksum:
        raise SecretError("it was damaged on the way (its CRC32C is another one); try again")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SecretError("it is no text in UTF-8; store it again") from error


def crc32c(data: bytes) -> int:
    """The checksum that Secret Manager keeps with a secret; of 64 KiB at most, so a slow one will do."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ _CASTAGNOLI * (crc & 1)
    return crc ^ 0xFFFFFFFF
