"""What each SQL function takes and returns; a test holds these against the database's own signatures."""

from __future__ import annotations

from typing import Any, NamedTuple

from common.drop_contracts import (
    Acceptance,
    AcceptedCount,
    AuditBounds,
    AuditClaim,
    AuditRecorded,
    AuditResult,
    CloseBounds,
    ClosedCount,
    CreatedDrop,
    CustomerErased,
    CustomerErasure,
    DropRef,
    EraseBounds,
    ErasedCount,
    NewDrop,
    Reported,
    Restock,
    Restocked,
    StateChange,
    StateChanged,
)
from common.event_contracts import (
    DroppedCount,
    EventBounds,
    FinishedRetries,
    MarkedEvents,
    MessageRef,
    OrderEvent,
    PublishedEvents,
    RejectedCount,
    RejectedMessage,
    RetryOutcome,
    TriedMessage,
)
from common.order_contracts import (
    AcceptItem,
    AcceptVerdict,
    AdmitItem,
    AdmitOutcome,
    ClaimBounds,
    MarkedCount,
    OrderMessage,
    OrderOutcome,
    OrderRef,
    ReleaseItem,
    ReserveOutcome,
)
from common.payment_contracts import (
    ClaimedPayments,
    ClaimedRefund,
    ExpireBounds,
    ExpiredCount,
    PaymentBounds,
    RefundBounds,
    RefundRequest,
    RefundRequested,
    RefundSettled,
    RefundSettlement,
    Settled,
    Settlement,
)


class Contract(NamedTuple):
    """The types of a SQL function's one argument and of its answer."""

    takes: Any
    returns: Any


CONTRACTS = {
    "accept_orders": Contract(list[AcceptItem], list[AcceptVerdict]),
    "mark_unpublished": Contract(list[OrderRef], MarkedCount),
    "reserve_orders": Contract(list[OrderRef], list[ReserveOutcome]),
    "admit_orders": Contract(list[AdmitItem], list[AdmitOutcome]),
    "release_orders": Contract(list[ReleaseItem], list[OrderOutcome]),
    "claim_payments": Contract(PaymentBounds, ClaimedPayments),
    "settle_payments": Contract(list[Settlement], list[Settled]),
    "expire_holds": Contract(ExpireBounds, ExpiredCount),
    "request_refund": Contract(RefundRequest, RefundRequested),
    "claim_refunds": Contract(RefundBounds, list[ClaimedRefund]),
    "settle_refunds": Contract(list[RefundSettlement], list[RefundSettled]),
    "reject_messages": Contract(list[RejectedMessage], RejectedCount),
    "claim_waiting_orders": Contract(ClaimBounds, list[OrderMessage]),
    "create_drop": Contract(NewDrop, CreatedDrop),
    "set_drop_state": Contract(StateChange, StateChanged),
    "restock_item": Contract(Restock, Restocked),
    "close_drops": Contract(CloseBounds, ClosedCount),
    "claim_audit": Contract(AuditBounds, AuditClaim),
    "record_audit": Contract(AuditResult, AuditRecorded),
    "accept_violations": Contract(Acceptance, AcceptedCount),
    "erase_personal_data": Contract(EraseBounds, ErasedCount),
    "erase_customer": Contract(CustomerErasure, CustomerErased),
    "report_drop": Contract(DropRef, Reported),
    "claim_events": Contract(EventBounds, list[OrderEvent]),
    "mark_events_published": Contract(list[PublishedEvents], MarkedEvents),
    "retry_messages": Contract(list[MessageRef], list[RetryOutcome]),
    "finish_retries": Contract(list[TriedMessage], FinishedRetries),
    "drop_messages": Contract(list[MessageRef], DroppedCount),
}
