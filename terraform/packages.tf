# The functions' zips, named by their content: a function is deployed again when its zip changed, and only then.

resource "google_storage_bucket" "packages" {
  #checkov:skip=CKV_GCP_62:Cloud Audit Logs record who reads and writes the zips (audit.tf), without a second bucket to guard
  #checkov:skip=CKV_GCP_63:It has no access log that could be written to itself, see CKV_GCP_62
  name                        = "${var.project_id}-merchdrop-packages"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }
  lifecycle_rule {
    condition {
      num_newer_versions = 3
      with_state         = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.engine]
}

resource "google_storage_bucket_object" "package" {
  for_each = local.function_names

  bucket = google_storage_bucket.packages.name
  name   = "${each.key}-${filesha256("${var.packages_dir}/${each.key}.zip")}.zip"
  source = "${var.packages_dir}/${each.key}.zip"
}

# The functions' images, which Cloud Functions builds, and that of the operator's command.
resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Images hold code and no data, encrypted with Google's keys; a lost key of our own would keep instances from starting
  repository_id = "merchdrop"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the functions and of the operator's command"

  docker_config {
    immutable_tags = false # Cloud Functions moves its own tag `latest`
  }
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s" # 90 days
    }
  }

  depends_on = [google_project_service.engine]
}
