"""Audit the books, drop by drop: pause the drop whose promises are broken, seal the one that is over and in order.

What an alert is set on: `a promise is broken` (ERROR, one line for each promise of a drop, once an audit until it is
mended or accepted), `a drop can't be audited` (ERROR), `orders are late` (WARNING).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from common.database import Database, DatabaseUnavailable
from common.drop_contracts import AuditBounds, AuditClaim, AuditRecorded, AuditResult, ClaimedDrop
from common.logs import log
from common.reconcile.step import Outcome
from common.settings import AUDIT_LISTED_MAX, AUDIT_PAUSE_SECONDS, SEAL_AFTER_SECONDS

_BROKEN = f"""
SELECT promise, count(*)::integer AS violations
FROM (SELECT promise FROM judged_violations WHERE drop_id = $1 AND accepted_at IS NULL LIMIT {AUDIT_LISTED_MAX}) v
GROUP BY promise ORDER BY promise
"""
_LATE = "SELECT status, count(*)::integer AS orders FROM late_orders WHERE drop_id = $1 GROUP BY status ORDER BY status"
_MISSING = "SELECT drop_id FROM missing_drops"


@dataclass(frozen=True)
class Pace:
    """How often a drop is audited, and how long after its end it is sealed; in seconds."""

    pause_seconds: float = AUDIT_PAUSE_SECONDS
    seal_after_seconds: float = SEAL_AFTER_SECONDS


async def run_once(database: Database, auditor: Database, seconds: float, pace: Pace = Pace()) -> Outcome:
    """Begin audits for `seconds`, of the drops that were audited least recently; `auditor` allows for long statements.

    Counts what was `audited`, `paused` and `sealed`. Two runs at once share the drops out.

    Raises:
        DatabaseUnavailable: also when only one of the drops could not be audited; the others were.
    """
    bounds: AuditBounds = {"pause_seconds": pace.pause_seconds, "seal_after_seconds": pace.seal_after_seconds}
    counts = {"audited": 0, "paused": 0, "sealed": 0}
    failure: DatabaseUnavailable | None = None
    deadline = time.monotonic() + seconds
    while is_left := time.monotonic() < deadline:
        claim: AuditClaim = await database.call("claim_audit", bounds)
        if (drop := claim["drop"]) is None:
            break
        try:
            outcome = await _audit(database, auditor, drop)
        except DatabaseUnavailable as error:
            log(logging.ERROR, "a drop can't be audited", drop_id=drop["drop_id"], cause=error)
            failure = error
        else:
            counts["audited"] += 1
            if outcome in counts:
                counts[outcome] += 1
    if counts["audited"]:
        await _look_for_missing_drops(auditor)
    if failure:
        raise failure
    return Outcome(counts, None if is_left else 0)


async def _audit(database: Database, auditor: Database, drop: ClaimedDrop) -> str:
    """Audit one drop and act on it; what record_audit made of it."""
    broken = await auditor.read(_BROKEN, drop["drop_id"])
    for row in broken:
        log(logging.ERROR, "a promise is broken", drop_id=drop["drop_id"], **dict(row))
    for row in await auditor.read(_LATE, drop["drop_id"]):
        log(logging.WARNING, "orders are late", drop_id=drop["drop_id"], **dict(row))
    result: AuditResult = {**drop, "is_sound": not broken}
    recorded: AuditRecorded = await database.call("record_audit", result)
    if recorded["outcome"] in ("paused", "sealed"):
        log(logging.INFO, "a drop was " + recorded["outcome"], drop_id=drop["drop_id"])
    return recorded["outcome"]


async def _look_for_missing_drops(auditor: Database) -> None:
    """Orders of a drop that isn't there belong to no audit."""
    for row in await auditor.read(_MISSING):
        log(logging.ERROR, "a promise is broken", drop_id=row["drop_id"], promise=3, violations="orders without a drop")
