# Who read a secret, took or put a zip, or logged in to the database is recorded, beside the changes that always are.

resource "google_project_iam_audit_config" "data" {
  for_each = toset(["cloudsql.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"])

  project = var.project_id
  service = each.key

  audit_log_config {
    log_type = "DATA_READ"
  }
  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
