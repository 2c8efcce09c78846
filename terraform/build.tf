# Cloud Build: a pull request is tested and planned by an account that may only look; main is deployed by one that may
# change what it deploys, and not who may do what. Rights, secrets' values and the first apply are a person's (docs/deploy.md).

locals {
  builds     = var.delivery == null ? {} : { pull-request = "plan", main = "deploy" }
  build_jobs = toset(values(local.builds))

  # Both refresh the whole state before they plan: each kind of resource that there is here. The basic role viewer would do, but
  # it may also export the database, and a pull request brings its own steps.
  look_roles = [
    "roles/artifactregistry.reader",
    "roles/browser", # the project itself
    "roles/cloudbuild.builds.viewer",
    "roles/cloudfunctions.viewer",
    "roles/cloudscheduler.viewer",
    "roles/compute.viewer",
    "roles/iam.roleViewer",
    "roles/iam.securityReviewer", # everybody's rights
    "roles/iam.serviceAccountViewer",
    "roles/logging.logWriter",
    "roles/pubsub.viewer",
    "roles/run.viewer",
    "roles/secretmanager.viewer", # names and versions, no values
    "roles/serviceusage.serviceUsageViewer",
    "roles/storage.bucketViewer",
  ]
  change_roles = [
    "roles/cloudfunctions.developer",
    "roles/cloudscheduler.admin",
    "roles/cloudsql.editor", # not of users
    "roles/compute.networkAdmin",
    "roles/compute.securityAdmin", # Cloud Armor's rules and certificates
    "roles/pubsub.editor",
    "roles/run.developer", # also to execute the job that migrates
  ]

  # Whoever deploys something that runs, calls or pushes as an account has to be allowed to act as that account.
  acts_as = var.delivery == null ? {} : merge(
    { for name in local.function_names : name => google_service_account.function[name] },
    {
      build     = google_service_account.build
      migrate   = google_service_account.migrate
      operator  = google_service_account.operator
      push      = google_service_account.push
      scheduler = google_service_account.scheduler
    },
  )
}

resource "google_service_account" "delivery" {
  for_each = local.build_jobs

  account_id   = "merchdrop-${each.key}"
  display_name = each.key == "plan" ? "Cloud Build, when it tests and plans a pull request" : "Cloud Build, when it deploys main"
  depends_on   = [google_project_service.engine]
}

resource "google_cloudbuild_trigger" "delivery" {
  for_each = local.builds

  name            = "merchdrop-${each.key}"
  location        = var.region
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.delivery[each.value].id
  substitutions = {
    _DEPLOY       = tostring(each.value == "deploy")
    _REGION       = var.region
    _REPOSITORY   = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
    _STATE_BUCKET = var.delivery.state_bucket
  }

  repository_event_config {
    repository = var.delivery.repository
    dynamic "pull_request" {
      for_each = each.value == "plan" ? [1] : []
      content {
        branch = "^main$"
        # A pull request brings its own cloudbuild.yaml: a stranger's runs when a maintainer has said so.
        comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
      }
    }
    dynamic "push" {
      for_each = each.value == "deploy" ? [1] : []
      content {
        branch = "^main$"
      }
    }
  }

  depends_on = [google_project_iam_member.delivery, google_service_account_iam_member.acts_as]
}

# What no role gives without more: Cloud SQL's viewer may export.
resource "google_project_iam_custom_role" "look" {
  count = var.delivery == null ? 0 : 1

  role_id     = "merchdropLook"
  title       = "Merch Drop: look at the database's instance, its connection and the budget"
  description = "What a plan reads beside the predefined viewers' roles"
  permissions = [
    "billing.resourcebudgets.read",
    "cloudsql.databases.get",
    "cloudsql.databases.list",
    "cloudsql.instances.get",
    "cloudsql.instances.list",
    "cloudsql.users.get",
    "cloudsql.users.list",
    "servicenetworking.services.get",
  ]
}

resource "google_project_iam_member" "look" {
  for_each = local.build_jobs

  project = var.project_id
  role    = google_project_iam_custom_role.look[0].name
  member  = google_service_account.delivery[each.key].member
}

resource "google_project_iam_member" "delivery" {
  for_each = {
    for grant in flatten([
      for job in local.build_jobs : [
        for role in concat(local.look_roles, job == "deploy" ? local.change_roles : []) : { job = job, role = role }
      ]
    ]) : "${grant.job} ${grant.role}" => grant
  }

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.delivery[each.value.job].member
}

# The state, which holds no secret, and the functions' zips.
resource "google_storage_bucket_iam_member" "delivery" {
  for_each = {
    for pair in setproduct(local.build_jobs, ["state", "packages"]) : "${pair[0]} ${pair[1]}" => { job = pair[0], bucket = pair[1] }
  }

  bucket = each.value.bucket == "state" ? var.delivery.state_bucket : google_storage_bucket.packages.name
  role   = each.value.job == "deploy" ? "roles/storage.objectUser" : "roles/storage.objectViewer"
  member = google_service_account.delivery[each.value.job].member
}

resource "google_artifact_registry_repository_iam_member" "deploy" {
  for_each = setintersection(local.build_jobs, ["deploy"])

  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.delivery[each.key].member
}

resource "google_service_account_iam_member" "acts_as" {
  for_each = local.acts_as

  service_account_id = each.value.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.delivery["deploy"].member
}
