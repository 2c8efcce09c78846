"""Errors as clients see them: RFC 9457 problems with a stable type and a word on what to do next."""

from __future__ import annotations

from typing import Any

_TITLES = {
    "not-found": (404, "There is nothing at this path"),
    "method-not-allowed": (405, "This path does not take that method"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "request-timeout": (408, "The body did not arrive in time"),
    "too-large": (413, "The body is too large"),
    "idempotency-key-missing": (400, "The Idempotency-Key header is missing"),
    "idempotency-key-invalid": (400, "The Idempotency-Key header is invalid"),
    "webhook-signature-invalid": (400, "The webhook's signature is invalid"),
    "malformed-json": (400, "The body is not valid JSON"),
    "invalid-request": (422, "The request has invalid fields"),
    "idempotency-key-reused": (422, "The key was used for a different request"),
    "drop-not-found": (404, "There is no such drop"),
    "drop-not-open": (409, "The drop is not open yet"),
    "drop-closed": (410, "The drop is over"),
    "drop-paused": (503, "The drop is paused"),
    "unknown-sku": (422, "The drop does not sell that"),
    "price-changed": (409, "The price is another one by now"),
    "sold-out": (409, "Sold out at this moment"),
    "payments-unavailable": (503, "Payments can't be taken"),
    "overloaded": (503, "Too many requests at once"),
    "unavailable": (503, "The order can't be taken right now"),
    "order-not-found": (404, "There is no such order"),
    "too-late": (409, "The order is past cancelling"),
}
NAMES = tuple(_TITLES)


class Problem(Exception):
    """An error answer. `name` is the last part of its type; `members` stand beside title, status and detail."""

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.name = name
        self.status, self.title = _TITLES[name]
        self.headers = headers or {}
        self.members = members

    def body(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"/problems/{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            **self.members,
        }


def status_of(name: str) -> int:
    """The HTTP status that a problem is answered with."""
    return _TITLES[name][0]


def retry_after(seconds: int) -> dict[str, str]:
    """The header that tells a client when to try again."""
    return {"Retry-After": str(max(1, seconds))}
