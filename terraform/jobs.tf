# The operator's command inside the network, once as the tables' owner (migrate) and once with an operator's rights.

resource "google_cloud_run_v2_job" "operators" {
  for_each = var.cli_image == "" ? {} : {
    migrate = { account = google_service_account.migrate, user = google_sql_user.migrate.name, args = ["migrate"] }
    # gcloud run jobs execute merchdrop-operator --args=drop,create,…
    operator = { account = google_service_account.operator, user = google_sql_user.operator.name, args = ["audit"] }
  }

  name                = "merchdrop-${each.key}"
  location            = var.region
  deletion_protection = false # a job holds nothing

  template {
    template {
      service_account = each.value.account.email
      max_retries     = 0 # a person looks before it is done again
      timeout         = "600s"
      containers {
        image = var.cli_image
        args  = each.value.args
        dynamic "env" {
          for_each = { MERCHDROP_CLOUD_SQL_INSTANCE = local.environment.MERCHDROP_CLOUD_SQL_INSTANCE, MERCHDROP_DATABASE_USER = each.value.user }
          content {
            name  = env.key
            value = env.value
          }
        }
      }
      vpc_access {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = google_compute_network.engine.id
          subnetwork = google_compute_subnetwork.instances.id
        }
      }
    }
  }

  depends_on = [google_project_iam_member.database]
}
