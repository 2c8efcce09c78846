# PostgreSQL: private, in two zones, with point-in-time recovery, and logins by IAM alone.

resource "google_sql_database_instance" "engine" {
  #checkov:skip=CKV_GCP_108:Instances have private addresses without names; a look-up in DNS would only delay each connection
  #checkov:skip=CKV_GCP_110:log_statement records what changes tables and rights, and stock, orders and money have a ledger and events of their own
  #checkov:skip=CKV2_GCP_13:A line for each statement would be thousands a second during a sale; Query Insights has the durations
  name                = "merchdrop"
  region              = var.region
  database_version    = "POSTGRES_18" # as the tests have it
  deletion_protection = true

  settings {
    tier                        = var.drop_day ? var.database.drop_day_tier : var.database.tier
    edition                     = var.database.edition
    availability_type           = var.database.availability_type
    disk_type                   = "PD_SSD"
    disk_size                   = var.database.disk_size
    disk_autoresize             = true
    disk_autoresize_limit       = var.database.disk_size_max
    deletion_protection_enabled = true
    retain_backups_on_delete    = true
    connector_enforcement       = "REQUIRED" # Cloud SQL's connectors alone: TLS with a client's certificate

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.engine.id
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }
    backup_configuration {
      enabled                        = true
      start_time                     = "04:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = var.database.backups_kept
        retention_unit   = "COUNT"
      }
    }
    maintenance_window {
      day          = 2
      hour         = 4
      update_track = "stable"
    }
    insights_config {
      query_insights_enabled  = true
      query_string_length     = 1024
      query_plans_per_minute  = 5
      record_application_tags = true
      record_client_address   = false
    }

    dynamic "database_flags" {
      for_each = {
        "cloudsql.iam_authentication"         = "on"
        "max_connections"                     = tostring(var.database.max_connections)
        "max_locks_per_transaction"           = tostring(var.database.max_locks_per_transaction)
        "statement_timeout"                   = "30000" # the engine sets 4 s for itself; this holds for everybody
        "lock_timeout"                        = "10000"
        "idle_in_transaction_session_timeout" = "10000" # nobody sits on a row's lock
        "log_checkpoints"                     = "on"
        "log_connections"                     = "on"
        "log_disconnections"                  = "on"
        "log_lock_waits"                      = "on"
        "log_error_verbosity"                 = "terse" # an error's details would quote the row that failed
        "log_min_duration_statement"          = "-1"    # a slow statement's line would hold its parameters: names, addresses, payment methods
        "log_min_error_statement"             = "error"
        "log_statement"                       = "ddl" # who changed tables, functions and rights
      }
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  depends_on = [google_service_networking_connection.database, terraform_data.arithmetic]
}

resource "google_sql_database" "engine" {
  name            = "merchdrop"
  instance        = google_sql_database_instance.engine.name
  deletion_policy = "ABANDON"
}

# A login for each function, member of the role that the migrations made for it; no passwords anywhere.
resource "google_sql_user" "function" {
  for_each = local.function_names

  instance       = google_sql_database_instance.engine.name
  name           = trimsuffix(google_service_account.function[each.key].email, ".gserviceaccount.com")
  type           = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles = var.migrated ? ["merchdrop_${each.key}"] : []
}

resource "google_sql_user" "operator" {
  instance       = google_sql_database_instance.engine.name
  name           = trimsuffix(google_service_account.operator.email, ".gserviceaccount.com")
  type           = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles = var.migrated ? ["merchdrop_operator"] : []
}

# Becomes the database's owner to make tables and roles: only the migration's job logs in as it.
resource "google_sql_user" "migrate" {
  instance        = google_sql_database_instance.engine.name
  name            = trimsuffix(google_service_account.migrate.email, ".gserviceaccount.com")
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles  = ["cloudsqlsuperuser"]
  deletion_policy = "ABANDON" # it goes with the instance
}
