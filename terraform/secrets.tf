# Secrets, without their values: those are added by hand (docs/deploy.md), so that no state file ever holds one.

locals {
  secret_versions = merge(
    { order-id-secrets = var.order_id_secret_version },
    local.takes_payments ? {
      stripe-api-key        = var.payments.api_key_version
      stripe-webhook-secret = var.payments.webhook_secret_version
    } : {},
  )

  # As the operator's command reads them.
  secret_references = {
    for name, version in local.secret_versions :
    name => "sm://projects/${var.project_id}/secrets/${google_secret_manager_secret.engine[name].secret_id}/versions/${version}"
  }
}

resource "google_secret_manager_secret" "engine" {
  for_each = toset(local.takes_payments ? ["order-id-secrets", "stripe-api-key", "stripe-webhook-secret"] : ["order-id-secrets"])

  secret_id           = "merchdrop-${each.key}"
  deletion_protection = true # without the order ids' secret, no key finds its order again

  replication {
    auto {}
  }

  depends_on = [google_project_service.engine]
}

resource "google_secret_manager_secret_iam_member" "function" {
  for_each = merge([
    for function, details in local.functions : {
      for secret in values(details.secrets) : "${function} ${secret}" => { function = function, secret = secret }
    }
  ]...)

  secret_id = google_secret_manager_secret.engine[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.function[each.value.function].member
}

# Refunds, cancellations and comparisons with the provider are an operator's commands.
resource "google_secret_manager_secret_iam_member" "operator" {
  for_each = local.takes_payments ? toset(["stripe-api-key"]) : toset([])

  secret_id = google_secret_manager_secret.engine[each.key].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.operator.member
}
