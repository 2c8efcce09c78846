"""The API as an OpenAPI 3.1 document, made from the models and the table of problems."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from common.models import DROP_ID_PATTERN, Accepted, CheckoutRequest, Drop, Health, Order, ProblemDocument, Received
from common.problems import NAMES, Problem, status_of
from common.settings import WAIT_SECONDS_MAX

_REF = "#/components/schemas/{model}"
_ORDER_ID = "019b3c5e-9d1f-8a2b-9c3d-4e5f6a7b8c9d"

EXAMPLES: dict[str, Any] = {
    "CheckoutRequest": {
        "drop_id": "tee-drop",
        "customer": {"id": "c-1", "email": "a@example.com"},
        "items": [{"sku": "TEE-M", "quantity": 1}],
        "payment_method": "pm_card_visa",
        "expected_amount_minor": 3500,
    },
    "Received": {"received": True},
    "Accepted": {"order_id": _ORDER_ID, "status": "accepted", "status_url": f"/v1/orders/{_ORDER_ID}"},
    "Order": {
        "order_id": _ORDER_ID,
        "drop_id": "tee-drop",
        "status": "confirmed",
        "reason": None,
        "items": [{"sku": "TEE-M", "quantity": 1, "unit_price_minor": 3500}],
        "amount_minor": 3500,
        "currency": "USD",
        "accepted_at": "2026-11-24T12:00:00.120000+00:00",
        "updated_at": "2026-11-24T12:00:00.160000+00:00",
        "payment": {
            "provider": "stripe",
            "state": "captured",
            "captured_minor": 3500,
            "refunded_minor": 0,
            "client_secret": None,
            "expires_at": None,
        },
    },
    "Drop": {
        "drop_id": "tee-drop",
        "name": "Tee drop",
        "state": "live",
        "currency": "USD",
        "starts_at": "2026-11-24T12:00:00+00:00",
        "ends_at": "2026-11-25T12:00:00+00:00",
        "server_time": "2026-11-24T12:00:01.500000+00:00",
        "per_customer_limit": 2,
        "items": [{"sku": "TEE-M", "title": "Tee, medium", "unit_price_minor": 3500, "available": 499}],
    },
    "Health": {"status": "ok", "database": "ok", "queue": "ok", "payments": "ok"},
}
EXTRA_MEMBERS: dict[str, dict[str, Any]] = {
    "invalid-request": {
        "errors": [{"field": "items.0.quantity", "message": "Input should be greater than or equal to 1"}]
    },
    "drop-not-open": {"starts_at": "2026-11-24T12:00:00+00:00"},
    "unknown-sku": {"errors": [{"field": "items.0.sku", "message": "not in this drop"}]},
    "price-changed": {"amount_minor": 3500},
    "sold-out": {"skus": ["TEE-M"]},
}
CALLS: list[dict[str, Any]] = [
    {
        "method": "post",
        "path": "/v1/checkout",
        "summary": "Take an order",
        "answer": (202, Accepted),
        "body": CheckoutRequest,
        "problems": [
            "unsupported-media-type",
            "request-timeout",
            "too-large",
            "idempotency-key-missing",
            "idempotency-key-invalid",
            "malformed-json",
            "invalid-request",
            "idempotency-key-reused",
            "drop-not-found",
            "drop-not-open",
            "drop-closed",
            "drop-paused",
            "unknown-sku",
            "price-changed",
            "sold-out",
            "payments-unavailable",
            "overloaded",
            "unavailable",
        ],
    },
    {
        "method": "get",
        "path": "/v1/orders/{order_id}",
        "summary": "Show an order, at once or when it changes",
        "answer": (200, Order),
        "problems": ["order-not-found", "invalid-request", "overloaded", "unavailable"],
    },
    {
        "method": "post",
        "path": "/v1/orders/{order_id}/cancel",
        "summary": "Cancel an order that is not paid for",
        "answer": (200, Order),
        "problems": ["order-not-found", "too-late", "overloaded", "unavailable"],
    },
    {
        "method": "get",
        "path": "/v1/drops/{drop_id}",
        "summary": "Show a drop and what is available",
        "answer": (200, Drop),
        "problems": ["drop-not-found", "overloaded", "unavailable"],
    },
    {
        "method": "post",
        "path": "/v1/webhooks/stripe",
        "summary": "Take an event of Stripe's",
        "answer": (200, Received),
        "problems": [
            "payments-unavailable",
            "request-timeout",
            "too-large",
            "webhook-signature-invalid",
            "malformed-json",
            "unavailable",
        ],
    },
    {
        "method": "get",
        "path": "/v1/health",
        "summary": "Tell whether all of it works",
        "answer": (200, Health),
        "problems": [],
    },
]
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "order_id": {"type": "string", "format": "uuid"},
    "drop_id": {"type": "string", "pattern": DROP_ID_PATTERN},
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "A random text for each order, kept for every retry; bare or as a quoted string.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]([ -~]*[!-~])?$"},
        "example": "6f1a2c0e-retry-me",
    },
    "Stripe-Signature": {
        "name": "Stripe-Signature",
        "in": "header",
        "required": True,
        "description": "As Stripe signs its webhooks; the body is an event of Stripe's.",
        "schema": {"type": "string"},
    },
    "wait": {
        "name": "wait",
        "in": "query",
        "description": "Seconds to wait for a change of the status.",
        "schema": {"type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_MAX},
    },
}


def openapi_document() -> dict[str, Any]:
    """The whole document."""
    models: list[type[BaseModel]] = [CheckoutRequest, Accepted, Order, Drop, Received, Health, ProblemDocument]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = definitions["$defs"]
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call["path"], {})[call["method"]] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Merch Drop",
            "version": "1",
            "description": "Take orders for limited-edition drops.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def problem_example(name: str) -> dict[str, Any]:
    """A problem document as a client may see it."""
    return Problem(name, "What is wrong, and what to do next.", **EXTRA_MEMBERS.get(name, {})).body()


def _operation(call: dict[str, Any]) -> dict[str, Any]:
    status, model = call["answer"]
    responses: dict[str, Any] = {
        str(status): {"description": model.__doc__, "content": _content("application/json", model)}
    }
    for name in (name for name in NAMES if name in call["problems"]):
        entry = responses.setdefault(
            str(status_of(name)),
            {"description": "", "content": _content("application/problem+json", ProblemDocument)},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], name]))
        entry["content"]["application/problem+json"].setdefault("examples", {})[name] = {"value": problem_example(name)}
    if "{" in call["path"]:
        # the framework's own answer to a path with a line break in it
        responses["404"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    operation: dict[str, Any] = {
        "summary": call["summary"],
        "operationId": _operation_id(call),
        "responses": responses,
    }
    if parameters := _parameters(call):
        operation["parameters"] = parameters
    if "body" in call:
        operation["requestBody"] = {"required": True, "content": _content("application/json", call["body"])}
    return operation


def _operation_id(call: dict[str, Any]) -> str:
    return "_".join([call["method"], *(part.strip("{}") for part in call["path"].split("/")[2:])])


def _parameters(call: dict[str, Any]) -> list[dict[str, Any]]:
    found = [
        {"name": part.strip("{}"), "in": "path", "required": True, "schema": _PATH_SCHEMAS[part.strip("{}")]}
        for part in call["path"].split("/")
        if part.startswith("{")
    ]
    if call["path"] == "/v1/checkout":
        found.append(_PARAMETERS["Idempotency-Key"])
    if call["path"] == "/v1/webhooks/stripe":
        found.append(_PARAMETERS["Stripe-Signature"])
    if call["path"] == "/v1/orders/{order_id}":
        found.append(_PARAMETERS["wait"])
    return found


def _content(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=model.__name__)}}}
