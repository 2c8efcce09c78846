# Topics, our own push subscriptions, their dead letters, and the rights that these need.

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  pushes = {
    process-order = { topic = "orders", function = "process_order" }
    charge-order  = { topic = "payments", function = "charge_order" }
  }
  day  = 86400
  week = 7 * local.day
}

resource "google_pubsub_topic" "engine" {
  #checkov:skip=CKV_GCP_83:Messages are encrypted with Google's keys and gone after a week; a key of our own that can't be reached would stop the sale
  for_each = toset(["orders", "payments", "order-events", "orders-dead-letter", "payments-dead-letter"])

  name                       = each.key
  message_retention_duration = "${local.week}s" # so that a subscription can be set back in time

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.engine]
}

resource "google_pubsub_subscription" "push" {
  for_each = local.pushes

  name                       = each.key
  topic                      = google_pubsub_topic.engine[each.value.topic].id
  message_retention_duration = "${local.week}s"

  # Also the time-out of the push request: longer than the function's own, so that none is delivered twice at once.
  ack_deadline_seconds = ceil(local.functions[each.value.function].timeout_seconds) + 10

  push_config {
    push_endpoint = google_cloudfunctions2_function.engine[each.value.function].service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = google_cloudfunctions2_function.engine[each.value.function].service_config[0].uri
    }
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }
  # An outage costs deliveries: a hundred of them, up to a minute apart, outlast most.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.engine["${each.value.topic}-dead-letter"].id
    max_delivery_attempts = 100
  }
  expiration_policy {
    ttl = "" # never
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.invokers, google_service_account_iam_member.push_tokens]
}

# reconcile pulls these while the database is well.
resource "google_pubsub_subscription" "dead_letter" {
  for_each = toset(["orders-dead-letter", "payments-dead-letter"])

  name                       = each.key
  topic                      = google_pubsub_topic.engine[each.key].id
  ack_deadline_seconds       = 60
  message_retention_duration = "${31 * local.day}s" # the longest there is: a person may have to look
  expiration_policy {
    ttl = ""
  }
}

# What a shop's own systems would read; each of them takes a subscription like this one.
resource "google_pubsub_subscription" "order_events_example" {
  name                       = "order-events-example"
  topic                      = google_pubsub_topic.engine["order-events"].id
  enable_message_ordering    = true # an order's events in their order
  ack_deadline_seconds       = 30
  message_retention_duration = "${local.week}s"
  expiration_policy {
    ttl = ""
  }
}

# Dead letters are moved by Pub/Sub's own service agent: it publishes them there, and acknowledges them here.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  for_each = toset(["orders-dead-letter", "payments-dead-letter"])

  topic  = google_pubsub_topic.engine[each.key].id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = local.pushes

  subscription = google_pubsub_subscription.push[each.key].id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# The agent signs push requests as the push account, which alone may invoke the functions.
resource "google_service_account_iam_member" "push_tokens" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "reconcile" {
  for_each = toset(["orders-dead-letter", "payments-dead-letter"])

  subscription = google_pubsub_subscription.dead_letter[each.key].id
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.function["reconcile"].member
}
