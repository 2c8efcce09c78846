"""The engine with a module of its workers altered: `python -m loadtest.gameday.altered cli NAME up …`.

The product has no switch for it. The supervisor is `merchdrop`, told to start each function by way of this module too;
there the alteration NAME is made before functions-framework loads the function.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import common.checkout
import common.order_ids
from local.parts import Part
from local.recipes import Recipes

_FRAMEWORK = "functions_framework"


def _replace(owner: Any, name: str, new: Any) -> None:
    if not hasattr(owner, name):
        sys.exit(f"{owner} has no {name}: the control no longer fits the engine")
    setattr(owner, name, new)


def _draw_order_ids() -> None:
    """Every request gets an id of its own, with the tag of one that was issued."""

    def drawn(secret: bytes, drop_id: str, _idempotency_key: str) -> str:
        return common.order_ids.derive_order_id(secret, drop_id, uuid4().hex)

    _replace(common.checkout, "derive_order_id", drawn)


def _charge_at_once(*, keeps_key: bool) -> None:
    """PaymentIntents are confirmed by the call that creates them: nothing but its key makes it safe to repeat."""
    from stripe import PaymentIntentService

    create = PaymentIntentService.create_async

    async def create_and_confirm(self: PaymentIntentService, params: Any, options: Any) -> Any:
        params["confirm"] = True
        return await create(self, params, options if keeps_key else {})

    _replace(PaymentIntentService, "create_async", create_and_confirm)


ALTERATIONS: dict[str, Callable[[], None]] = {
    "drawn-order-ids": _draw_order_ids,
    "charge-at-once": lambda: _charge_at_once(keeps_key=True),
    "charge-at-once-without-key": lambda: _charge_at_once(keeps_key=False),
}


def _alter_workers(name: str) -> None:
    """Let the supervisor start functions by way of this module."""
    recipe = Recipes.function_part

    def altered(self: Recipes, function: str) -> Part:
        part = recipe(self, function)
        place = part.command.index(_FRAMEWORK)
        part.command[place : place + 1] = [__spec__.name, _FRAMEWORK, name]
        return part

    _replace(Recipes, "function_part", altered)


def main() -> None:
    """Run a program's module, the supervisor's or a worker's, with the alteration that is named after it."""
    program, name = sys.argv[1:3]
    del sys.argv[1:3]
    if program == _FRAMEWORK:
        ALTERATIONS[name]()
    else:
        _alter_workers(name)
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
