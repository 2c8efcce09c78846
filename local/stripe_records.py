"""What one request or one buyer changed, as a single line of the journal: all of it is remembered, or nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from local.stripe_errors import StripeError
from local.stripe_objects import Charge, Failure, PaymentIntent, Refund

Document = PaymentIntent | Refund
API_VERSION = "2026-10-28.endive"  # of events; the version that the SDK in requirements/dev.in speaks


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that moved: a `capture` or a `refund`; its id is the charge's or the refund's."""

    id: str
    at: float  # seconds since the epoch
    kind: str
    payment_intent: str
    amount: int
    currency: str
    metadata: dict[str, str]  # the payment's, so that its order can be seen


@dataclass(frozen=True, slots=True)
class Event:
    """What a webhook tells, with the object as it was when that happened."""

    id: str
    type: str
    created: int
    document: Document
    request: str | None  # None: nobody asked, a buyer did something
    idempotency_key: str | None

    def render(self) -> dict[str, Any]:
        """As the API shows it."""
        document: Any = self.document
        return {
            "id": self.id,
            "object": "event",
            "api_version": API_VERSION,
            "created": self.created,
            "data": {"object": document.render_charge() if self.type.startswith("charge.") else document.render()},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": self.request, "idempotency_key": self.idempotency_key},
            "type": self.type,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of the objects: the payment as it is now, and what is told of it (event type, object)."""

    payment_intent: PaymentIntent | None = None
    refund: Refund | None = None
    movement: Movement | None = None
    told: tuple[tuple[str, Document], ...] = ()
    error: StripeError | None = None  # the answer; without one it is the refund or the payment

    @property
    def answer(self) -> Document | StripeError:
        answer = self.error or self.refund or self.payment_intent
        assert answer is not None, "a change without an answer"
        return answer


@dataclass(frozen=True, slots=True)
class Record:
    """A change with its time, its events, and the idempotency key under which its answer is kept."""

    at: float
    change: Change
    events: tuple[Event, ...] = ()
    key: str | None = None
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        """The record as the journal holds it."""
        change, entry = self.change, {"at": self.at}
        return entry | _present(
            payment_intent=change.payment_intent and _pack(change.payment_intent),
            refund=change.refund and _pack(change.refund),
            movement=change.movement and asdict(change.movement),
            error=change.error and _pack_error(change.error),
            events=[_pack_event(event) for event in self.events] or None,
            key=self.key,
            fingerprint=self.fingerprint or None,
        )

    @staticmethod
    def from_json(entry: dict[str, Any]) -> Record:
        """The record in a line of the journal."""
        change = Change(
            payment_intent=_unpack_payment(entry["payment_intent"]) if "payment_intent" in entry else None,
            refund=Refund(**entry["refund"]) if "refund" in entry else None,
            movement=Movement(**entry["movement"]) if "movement" in entry else None,
            error=_unpack_error(entry["error"]) if "error" in entry else None,
        )
        events = tuple(_unpack_event(event) for event in entry.get("events", ()))
        return Record(entry["at"], change, events, entry.get("key"), entry.get("fingerprint", ""))


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _pack(document: Document) -> dict[str, Any]:
    packed = _present(**{name: getattr(document, name) for name in document.__slots__})
    for name in ("failure", "charge"):
        if isinstance(packed.get(name), Failure | Charge):
            packed[name] = asdict(packed[name])
    return packed


def _unpack_payment(fields: dict[str, Any]) -> PaymentIntent:
    built = dict(fields)
    for name, build in (("failure", Failure), ("charge", Charge)):
        if name in fields:
            built[name] = build(**fields[name])
    return PaymentIntent(**built)


def _pack_event(event: Event) -> dict[str, Any]:
    kind = "refund" if isinstance(event.document, Refund) else "payment_intent"
    names = (name for name in event.__slots__ if name != "document")
    return {name: getattr(event, name) for name in names} | {kind: _pack(event.document)}


def _unpack_event(entry: dict[str, Any]) -> Event:
    fields = dict(entry)
    refund, payment = fields.pop("refund", None), fields.pop("payment_intent", None)
    document = Refund(**refund) if refund else _unpack_payment(payment)
    return Event(document=document, **fields)


def _pack_error(error: StripeError) -> dict[str, Any]:
    about = error.payment_intent and _pack(error.payment_intent)
    return _present(status=error.status, fields=error.fields, headers=error.headers, payment_intent=about)


def _unpack_error(entry: dict[str, Any]) -> StripeError:
    about = entry.get("payment_intent")
    return StripeError(entry["status"], entry["fields"], about and _unpack_payment(about), **entry["headers"])
