# The operator's command inside the network, once as a member of the tables' owner (migrate) and once with an operator's
# rights.

resource "google_cloud_run_v2_job" "operators" {
  for_each = var.cli_image == "" ? {} : {
    migrate = {
      account = google_service_account.migrate
      user    = google_sql_user.migrate.name
      args    = ["migrate"]
      secrets = tomap({})
    }
    # gcloud run jobs execute merchdrop-operator --args=drop,create,…
    operator = {
      account = google_service_account.operator
      user    = google_sql_user.operator.name
      args    = ["audit"]
      secrets = local.takes_payments ? tomap({ MERCHDROP_STRIPE_API_KEY = "stripe-api-key" }) : tomap({})
    }
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
          for_each = merge(
            {
              MERCHDROP_CLOUD_SQL_INSTANCE = local.environment.MERCHDROP_CLOUD_SQL_INSTANCE
              MERCHDROP_DATABASE_USER      = each.value.user
            },
            # References, which the command follows when it needs the secret: most commands never see it.
            { for name, secret in each.value.secrets : name => local.secret_references[secret] },
          )
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

  depends_on = [google_project_iam_member.database, google_secret_manager_secret_iam_member.operator]
}
