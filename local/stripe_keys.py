"""Idempotency keys: the first answer given under a key is the answer, for a day."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local.stripe_errors import Full, StripeError, key_in_use, key_reused
from local.stripe_records import Document

KEY_SECONDS = 24 * 3600  # Stripe keeps them for at least so long, and nobody may rely on more
KEYS_MAX = 500_000  # five for each payment that the store holds


@dataclass(frozen=True, slots=True)
class Saved:
    """The answer under a key, and which request it answers: `PATH DIGEST`."""

    fingerprint: str
    at: float
    answer: Document | StripeError


class Keys:
    """The keys of the last day, oldest first, and those of requests under way."""

    def __init__(self) -> None:
        self._saved: OrderedDict[str, Saved] = OrderedDict()
        self._under_way: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._saved)

    @property
    def in_use(self) -> int:
        """How many requests are under way under a key."""
        return len(self._under_way)

    def find(self, key: str, fingerprint: str, now: float) -> Document | StripeError | None:
        """The answer to give again; nothing if the key is new, or older than a day.

        Raises:
            StripeError: the key belongs to another request, or its first request is still under way.
        """
        if (first := self._under_way.get(key)) is not None:
            _same(key, first, fingerprint)
            raise key_in_use(key)
        saved = self._saved.get(key)
        if saved is None or saved.at + KEY_SECONDS <= now:
            return None
        _same(key, saved.fingerprint, fingerprint)
        return saved.answer

    @contextmanager
    def under_way(self, key: str, fingerprint: str) -> Iterator[None]:
        """While the first request under a key is worked on."""
        self._under_way[key] = fingerprint
        try:
            yield
        finally:
            del self._under_way[key]

    def check_room(self, now: float) -> None:
        """Forget what is older than a day.

        Raises:
            StripeError: there are still too many.
        """
        while self._saved and next(iter(self._saved.values())).at + KEY_SECONDS <= now:
            self._saved.popitem(last=False)
        if len(self._saved) >= KEYS_MAX:
            raise Full(f"The stand-in keeps at most {KEYS_MAX} idempotency keys; start it with a new journal.")

    def save(self, key: str, saved: Saved) -> None:
        """Keep an answer."""
        self._saved.pop(key, None)
        self._saved[key] = saved


def _same(key: str, first: str, fingerprint: str) -> None:
    if first == fingerprint:
        return
    path, _, _ = first.partition(" ")
    other_path = path != fingerprint.partition(" ")[0]
    raise key_reused(key, f"at {path}" if other_path else "with other parameters")
