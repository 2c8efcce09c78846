# The arithmetic. Limits that the code holds are read from the code, so that the two can't drift apart; what follows from
# them is checked when a plan is made (precondition below), not when buyers come.

locals {
  _settings_py = file("${path.module}/../common/settings.py")
  engine = {
    for name in [
      "ACCEPT_BATCH_MAX", "AUDIT_SECONDS", "AUDIT_STATEMENT_SECONDS", "CHARGE_SECONDS", "DATABASE_POOL_MAX", "FLUSHES_MAX", "LOOK_UP_SECONDS",
      "ONE_CHARGE_SECONDS", "QUEUE_LENGTH_MAX", "RECONCILE_SECONDS", "REFUND_SECONDS", "WAIT_SECONDS_MAX", "WAITERS_MAX",
    ] : name => tonumber(replace(regex("(?m)^${name} = ([0-9_.]+)", local._settings_py)[0], "_", ""))
  }

  # A drop day has instances waiting before the buyers come, and room for more.
  min_instances = {
    for name, function in local.functions : name => var.drop_day ? function.size.drop_day_min : function.size.min
  }
  max_instances = {
    for name, function in local.functions : name => var.drop_day ? function.size.drop_day_max : function.size.max
  }

  # While a new revision takes over, the old one's instances still finish their requests: twice as many may be connected.
  revisions_at_once    = 2
  instances_at_most    = local.revisions_at_once * sum(values(local.max_instances))
  pools_at_most        = local.instances_at_most + local.revisions_at_once * local.max_instances["reconcile"] # its audit has its own
  connections_at_most  = local.pools_at_most * local.engine.DATABASE_POOL_MAX
  connections_reserved = 20 # Cloud SQL's own, an operator's, a migration's, and what PostgreSQL keeps for superusers

  # accept_orders holds a lock for each order of its batch until it commits; PostgreSQL keeps all locks in one table of
  # max_locks_per_transaction x max_connections entries. Half of it is left to rows' and tables' locks.
  locks_at_most = (
    local.revisions_at_once * local.max_instances["checkout"] * local.engine.FLUSHES_MAX * local.engine.ACCEPT_BATCH_MAX
  )
  locks_there = floor(var.database.max_locks_per_transaction * var.database.max_connections / 2)

  # Direct VPC egress takes an address for each instance, and as many again while revisions change over.
  addresses_there = pow(2, 32 - tonumber(split("/", var.subnet_range)[1])) - 4 # Google keeps four of a subnet

  # A call waits for the database, for its place in a batch, or for a buyer's order: never longer than this.
  wait_margin_seconds = 15
}

resource "terraform_data" "arithmetic" {
  input = {
    connections_at_most = local.connections_at_most
    locks_at_most       = local.locks_at_most
    addresses_at_most   = local.instances_at_most
  }

  lifecycle {
    precondition {
      condition     = local.connections_at_most + local.connections_reserved <= var.database.max_connections
      error_message = "${local.pools_at_most} pools of ${local.engine.DATABASE_POOL_MAX} connections, and ${local.connections_reserved} in reserve, are more than the database's ${var.database.max_connections}: allow fewer instances, or more database.max_connections."
    }
    precondition {
      condition     = local.locks_at_most <= local.locks_there
      error_message = "checkout may hold ${local.locks_at_most} locks at once, and half of the database's lock table has ${local.locks_there}: allow fewer instances of checkout, or raise database.max_locks_per_transaction."
    }
    precondition {
      condition     = local.instances_at_most <= local.addresses_there
      error_message = "${local.instances_at_most} instances need an address each, and ${var.subnet_range} has ${local.addresses_there}: take a larger subnet_range, or allow fewer instances."
    }
    precondition {
      condition     = var.checkout.concurrency >= local.engine.WAITERS_MAX + var.checkout_places_min
      error_message = "${local.engine.WAITERS_MAX} status calls may wait in an instance of checkout; with a concurrency of ${var.checkout.concurrency} they leave fewer than ${var.checkout_places_min} places to buyers who order."
    }
  }
}
