"""What the API takes and shows, as pydantic models; the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from common.settings import AMOUNT_MINOR_MAX, LINES_MAX, METADATA_ENTRIES_MAX, QUANTITY_MAX, TEXT_LENGTH_MAX

# No control characters (C0, DEL, C1): line feeds have no place in a name. pydantic itself refuses lone surrogates.
_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
DROP_ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"  # as the table has it; nothing else can name a drop

Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=_PATTERN),
]
TextOrEmpty = Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX, pattern=_PATTERN)]


FlatMap = Annotated[
    dict[Text, TextOrEmpty],
    Field(max_length=METADATA_ENTRIES_MAX),
    # pydantic would write the names' pattern as one of several that a name may match; here it is a must
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": METADATA_ENTRIES_MAX,
            "propertyNames": {"minLength": 1, "maxLength": TEXT_LENGTH_MAX, "pattern": _PATTERN},
            "additionalProperties": {"type": "string", "maxLength": TEXT_LENGTH_MAX, "pattern": _PATTERN},
        }
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Customer(_Request):
    """Who buys. The id is the shop's word, and what a limit per customer counts by."""

    id: Text
    email: Text | None = None


class Line(_Request):
    """So many units of one SKU."""

    sku: Text
    quantity: int = Field(ge=1, le=QUANTITY_MAX)


class Shipping(_Request):
    """Where it goes; kept as it is, never read by the engine."""

    name: Text | None = None
    address: FlatMap | None = None


def _once_each(lines: list[Line]) -> list[Line]:
    if len({line.sku for line in lines}) < len(lines):
        raise ValueError("each sku may stand in one line only; add up the quantities")
    return lines


class CheckoutRequest(_Request):
    """An order to be taken."""

    drop_id: Text
    customer: Customer
    items: Annotated[
        list[Line],
        # as near as JSON Schema comes to "each SKU once"
        Field(min_length=1, max_length=LINES_MAX, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_once_each),
    ]
    payment_method: Text | None = None
    expected_amount_minor: int | None = Field(default=None, ge=0, le=AMOUNT_MINOR_MAX)
    shipping: Shipping | None = None
    metadata: FlatMap | None = None

    def document(self) -> dict[str, Any]:
        """The request as it is stored and fingerprinted: only what was given, so an absent field and null are one."""
        return self.model_dump(exclude_none=True)


class Accepted(BaseModel):
    """The order is durable, and will reach a final state."""

    order_id: str
    status: Literal["accepted"]
    status_url: str


class OrderLine(BaseModel):
    """A line of an order at the price it was accepted at."""

    sku: str
    quantity: int
    unit_price_minor: int


OrderStatus = Literal[
    "accepted",
    "reserved",
    "action_required",
    "confirmed",
    "declined",
    "expired",
    "cancelled",
    "refunded",
    "sold_out",
    "rejected",
]


class Payment(BaseModel):
    """How the money of an order stands; the client secret and its time are there while the buyer has to act."""

    provider: str
    state: Literal["due", "claimed", "action_required", "captured", "declined", "cancelled"]
    captured_minor: int
    refunded_minor: int
    client_secret: str | None
    expires_at: str | None


class Received(BaseModel):
    """The event was handed on."""

    received: Literal[True]


class Order(BaseModel):
    """An order. All but its id and status are null while only the queue knows it."""

    order_id: str
    drop_id: str | None
    status: OrderStatus
    reason: str | None
    items: list[OrderLine]
    amount_minor: int | None
    currency: str | None
    accepted_at: str | None
    updated_at: str | None
    payment: Payment | None


class DropItem(BaseModel):
    """A SKU of a drop, and how many units can be had at this moment."""

    sku: str
    title: str
    unit_price_minor: int
    available: int


class Drop(BaseModel):
    """A drop as buyers see it."""

    drop_id: str
    name: str
    state: Literal["draft", "live", "paused", "ended"]
    currency: str
    starts_at: str
    ends_at: str
    server_time: str
    per_customer_limit: int | None
    items: list[DropItem]


class Health(BaseModel):
    """Whether all of it works; degraded still takes orders where it can."""

    status: Literal["ok", "degraded"]
    database: Literal["ok", "down"]
    queue: Literal["ok", "down"]
    payments: Literal["ok", "down", "not-configured"]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """RFC 9457; `type` ends in /problems/NAME and is stable."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    starts_at: str | None = None
    amount_minor: int | None = None
    skus: list[str] | None = None
