resource "google_cloud_scheduler_job" "reconcile" {
  name             = "merchdrop-reconcile"
  description      = "Finishes what time or a crash left behind"
  region           = var.region
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "${ceil(local.functions["reconcile"].timeout_seconds) + 10}s"

  retry_config {
    retry_count = 0 # the next minute comes anyway
  }
  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.engine["reconcile"].service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.engine["reconcile"].service_config[0].uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.invokers]
}
