"""charge_order as it is deployed, but with the careless provider."""

from __future__ import annotations

import importlib.util

import common.charging
from tests.race.careless import CarelessPayments
from tests.serving import ROOT

setattr(common.charging, "StripePayments", CarelessPayments)  # noqa: B010 (it is no name that others should use)
_spec = importlib.util.spec_from_file_location("careful_main", ROOT / "functions" / "charge_order" / "main.py")
assert _spec is not None
assert _spec.loader is not None
_main = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_main)
charge_order = _main.charge_order
