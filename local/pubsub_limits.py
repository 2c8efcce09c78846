"""Every bound of the Pub/Sub emulator, in one place, each with its reason. Sizes are bytes, times are seconds."""

from __future__ import annotations

# --- what it keeps -----------------------------------------------------------------------------------------------
# A subscription's backlog. Two minutes without process_order at 1,500 orders a second fit, in 0.4 GB of memory; each
# subscription has its own bound, so that one that nobody reads refuses nobody else's messages.
BACKLOG_MESSAGES_MAX = 200_000
BACKLOG_BYTES_MAX = 256 * 1024 * 1024  # of messages as push requests carry them
TOPICS_MAX = SUBSCRIPTIONS_MAX = 10_000  # of all projects together; Pub/Sub has as many for each project
JOURNAL_BYTES_MIN = 16 * 1024 * 1024  # below this, making the journal smaller is not worth the work

# --- calls -------------------------------------------------------------------------------------------------------
CALLS_MAX = 1_000  # under way at once; gRPC answers RESOURCE_EXHAUSTED to more
CALL_BYTES_MAX = 20_000_000  # more than a full Publish call, so that one that is too large gets a proper answer
PUBLISH_MESSAGES_MAX = 1_000  # in one call, as Pub/Sub has it
PUBLISH_BYTES_MAX = 10_000_000  # as Pub/Sub has it
ORDERING_KEY_BYTES_MAX = 1_024  # as Pub/Sub has it
ATTRIBUTES_MAX = 100  # of a message, as Pub/Sub has it
ATTRIBUTE_NAME_BYTES_MAX = 256  # as Pub/Sub has it
ATTRIBUTE_VALUE_BYTES_MAX = 1_024  # as Pub/Sub has it
STOP_SECONDS = 1.0  # for calls under way when the emulator is told to stop

# --- delivery ----------------------------------------------------------------------------------------------------
PUSHES_MAX = 200  # push requests under way for each subscription, a connection each
# functions-framework's gunicorn closes a connection that was idle for two seconds; a request must not meet that.
CONNECTION_IDLE_SECONDS = 1.0
PULL_MESSAGES_MAX = 1_000  # in one answer, as Pub/Sub has it
PULL_BYTES_MAX = 4_000_000  # in one answer, which gRPC's clients take by default; a larger message comes alone
PULL_SECONDS = 1.0  # a pull that finds nothing waits for so long
ACK_DEADLINE_RANGE = (10, 600)  # as Pub/Sub has it, which takes the shorter by default
RETRY_RANGE = (10.0, 600.0)  # what a retry policy leaves out, as Pub/Sub has it
RETRY_AT_ONCE_SECONDS = 0.1  # without a retry policy Pub/Sub delivers again as soon as it can
DELIVERY_ATTEMPTS_RANGE = (5, 100)  # as Pub/Sub has it, which takes the fewer by default

# --- faults ------------------------------------------------------------------------------------------------------
FAULT_DELAY_SECONDS_MAX = 600.0  # longer than any test waits
# Of a subscription, waiting to be delivered. They outlive the ack of what they double, so the backlog doesn't bound
# them; beyond this many, messages are not doubled.
DUPLICATES_MAX = 10_000
