# One service account for each part, with what that part does and nothing more.

resource "google_service_account" "function" {
  for_each = local.function_names

  account_id   = "merchdrop-${replace(each.key, "_", "-")}"
  display_name = "The function ${each.key}"
  depends_on   = [google_project_service.engine]
}

resource "google_service_account" "push" {
  account_id   = "merchdrop-push"
  display_name = "Pub/Sub, when it calls process_order and charge_order"
  depends_on   = [google_project_service.engine]
}

resource "google_service_account" "scheduler" {
  account_id   = "merchdrop-scheduler"
  display_name = "Cloud Scheduler, when it calls reconcile"
  depends_on   = [google_project_service.engine]
}

resource "google_service_account" "operator" {
  account_id   = "merchdrop-operator"
  display_name = "The job that runs the operator's command"
  depends_on   = [google_project_service.engine]
}

resource "google_service_account" "migrate" {
  account_id   = "merchdrop-migrate"
  display_name = "The job that migrates the database"
  depends_on   = [google_project_service.engine]
}

resource "google_service_account" "build" {
  account_id   = "merchdrop-build"
  display_name = "Builds the functions' images"
  depends_on   = [google_project_service.engine]
}

locals {
  # Whoever connects to the database: the name of its account, without the suffix that Cloud SQL leaves out.
  database_accounts = merge(
    { for name in local.function_names : name => google_service_account.function[name] },
    { operator = google_service_account.operator, migrate = google_service_account.migrate },
  )

  # Topics that a function publishes to: checkout also hands webhooks and cancellations on, and charge_order wakes the next.
  publishes = {
    checkout      = ["orders", "payments"]
    process_order = ["payments"]
    charge_order  = ["payments"]
    reconcile     = ["orders", "payments", "order-events"]
  }
}

# cloudsql.client opens the connection, cloudsql.instanceUser logs in by IAM. What a login may do is the database's to say.
resource "google_project_iam_member" "database" {
  for_each = {
    for pair in setproduct(
      ["roles/cloudsql.client", "roles/cloudsql.instanceUser"],
      concat(tolist(local.function_names), ["operator", "migrate"]),
    ) : "${pair[1]} ${pair[0]}" => { role = pair[0], name = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = local.database_accounts[each.value.name].member
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = merge([
    for function, topics in local.publishes : { for topic in topics : "${function} ${topic}" => { function = function, topic = topic } }
  ]...)

  topic  = google_pubsub_topic.engine[each.value.topic].id
  role   = "roles/pubsub.publisher"
  member = google_service_account.function[each.value.function].member
}

# What building a function's image takes: to read its zip, to write the image, to write a log.
resource "google_project_iam_member" "build" {
  for_each = toset(["roles/logging.logWriter"])

  project = var.project_id
  role    = each.key
  member  = google_service_account.build.member
}

# Cloud Functions hands a build its zip in a bucket of its own, which is there from the first deployment on.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "sources"
    description = "Nobody else's objects: not the state, not an export"
    expression  = "resource.name.startsWith('projects/_/buckets/gcf-v2-sources-')"
  }
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.packages.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

resource "google_artifact_registry_repository_iam_member" "build" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}
