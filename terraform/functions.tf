# The four functions. What differs between them stands in local.functions; the rest is the same for all.

locals {
  functions = {
    checkout = {
      size            = var.checkout
      memory          = "1Gi" # a full queue of the largest orders is 320 MB, caches 25 MB, the code 100 MB
      timeout_seconds = local.engine.WAIT_SECONDS_MAX + local.wait_margin_seconds
      ingress         = "ALLOW_INTERNAL_AND_GCLB" # from outside only through the load balancer
      environment     = { MERCHDROP_CORS_ORIGINS = join(",", sort(var.cors_origins)) }
      secrets = merge(
        { MERCHDROP_ORDER_ID_SECRETS = "order-id-secrets" },
        local.takes_payments ? { MERCHDROP_STRIPE_WEBHOOK_SECRET = "stripe-webhook-secret" } : {},
      )
    }
    process_order = {
      size            = var.process_order
      memory          = "512Mi"
      timeout_seconds = 45 # a batch has its answer in seconds; longer is an outage, and Pub/Sub delivers again
      ingress         = "ALLOW_INTERNAL_ONLY"
      environment     = {}
      secrets         = { MERCHDROP_ORDER_ID_SECRETS = "order-id-secrets" }
    }
    charge_order = {
      size            = var.charge_order
      memory          = "512Mi"
      timeout_seconds = local.engine.CHARGE_SECONDS + local.engine.ONE_CHARGE_SECONDS + local.wait_margin_seconds
      ingress         = "ALLOW_INTERNAL_ONLY"
      environment     = { MERCHDROP_PAYMENTS_PER_SECOND = tostring(var.payments.per_second) }
      secrets         = local.takes_payments ? { MERCHDROP_STRIPE_API_KEY = "stripe-api-key" } : {}
    }
    reconcile = {
      # One run a minute; a slow one may overlap with the next, which does no harm.
      size   = { concurrency = 1, min = 0, max = 2, drop_day_min = 0, drop_day_max = 2 }
      memory = "512Mi"
      # The last pass begins by RECONCILE_SECONDS. In it charges and then refunds are begun for a while, and the last of
      # each may take its time; then audits are, of which one reads for two statements' time, and another statement follows.
      timeout_seconds = (
        local.engine.RECONCILE_SECONDS + local.engine.LOOK_UP_SECONDS + local.engine.REFUND_SECONDS +
        2 * local.engine.ONE_CHARGE_SECONDS + local.engine.AUDIT_SECONDS + 3 * local.engine.AUDIT_STATEMENT_SECONDS +
        local.wait_margin_seconds
      )
      ingress     = "ALLOW_INTERNAL_ONLY"
      environment = { MERCHDROP_PAYMENTS_PER_SECOND = tostring(var.payments.per_second) }
      secrets = merge(
        { MERCHDROP_ORDER_ID_SECRETS = "order-id-secrets" },
        local.takes_payments ? { MERCHDROP_STRIPE_API_KEY = "stripe-api-key" } : {},
      )
    }
  }
  function_names = toset(["checkout", "process_order", "charge_order", "reconcile"])
  takes_payments = var.payments.provider != ""
}

resource "google_cloudfunctions2_function" "engine" {
  for_each = local.functions

  name     = "merchdrop-${replace(each.key, "_", "-")}"
  location = var.region

  build_config {
    runtime           = "python313"
    entry_point       = each.key
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.images.id
    source {
      storage_source {
        bucket = google_storage_bucket.packages.name
        object = google_storage_bucket_object.package[each.key].name
      }
    }
    on_deploy_update_policy {} # security updates of the base image come with a deployment, which tests have seen
  }

  service_config {
    available_cpu                    = "1" # one worker process, async: it can't use a second
    available_memory                 = each.value.memory
    max_instance_request_concurrency = each.value.size.concurrency
    min_instance_count               = local.min_instances[each.key]
    max_instance_count               = local.max_instances[each.key]
    timeout_seconds                  = each.value.timeout_seconds
    ingress_settings                 = each.value.ingress
    service_account_email            = google_service_account.function[each.key].email
    all_traffic_on_latest_revision   = true

    # Only the database is reached through the network; Google's and Stripe's addresses are reached directly.
    direct_vpc_egress = "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    direct_vpc_network_interface {
      network    = google_compute_network.engine.id
      subnetwork = google_compute_subnetwork.instances.id
    }

    environment_variables = merge(local.environment, each.value.environment, {
      MERCHDROP_DATABASE_USER = google_sql_user.function[each.key].name
    })
    dynamic "secret_environment_variables" {
      for_each = each.value.secrets
      content {
        key        = secret_environment_variables.key
        project_id = var.project_id
        secret     = google_secret_manager_secret.engine[secret_environment_variables.value].secret_id
        version    = tostring(local.secret_versions[secret_environment_variables.value])
      }
    }
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build,
    google_project_iam_member.build_source,
    google_project_iam_member.database,
    google_project_service.engine,
    google_secret_manager_secret_iam_member.function,
    google_storage_bucket_iam_member.build,
    terraform_data.arithmetic,
  ]
}

locals {
  environment = {
    LOG_EXECUTION_ID             = "false" # the engine writes its own structured log lines
    MERCHDROP_CLOUD_SQL_INSTANCE = google_sql_database_instance.engine.connection_name
    MERCHDROP_LOG_FORMAT         = "json"
    MERCHDROP_PAYMENT_PROVIDER   = var.payments.provider
    MERCHDROP_PROJECT            = var.project_id
  }
}

# Who may call them: each binding is the whole list, so that a caller who was added by hand is removed by the next apply.
resource "google_cloud_run_v2_service_iam_binding" "invokers" {
  for_each = {
    checkout      = ["allUsers"] # the load balancer's requests carry no identity; ingress keeps everybody else out
    process_order = [google_service_account.push.member]
    charge_order  = [google_service_account.push.member]
    reconcile     = [google_service_account.scheduler.member]
  }

  name     = google_cloudfunctions2_function.engine[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  members  = each.value
}
