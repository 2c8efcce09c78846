# Who may do what, and from where. Nothing is created: every answer of Google Cloud is made up.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id   = "merchdrop-test"
  domain       = "drops.example.com"
  packages_dir = "tests/packages"
  migrated     = true
  cli_image    = "europe-west1-docker.pkg.dev/merchdrop-test/merchdrop/cli@sha256:0123456789012345678901234567890123456789012345678901234567890123"
  delivery = {
    repository   = "projects/merchdrop-test/locations/europe-west1/connections/shop/repositories/merchdrop"
    state_bucket = "merchdrop-test-terraform"
  }
}

run "functions" {
  assert {
    condition = {
      for name, function in google_cloudfunctions2_function.engine : name => function.service_config[0].ingress_settings
      } == {
      checkout      = "ALLOW_INTERNAL_AND_GCLB"
      process_order = "ALLOW_INTERNAL_ONLY"
      charge_order  = "ALLOW_INTERNAL_ONLY"
      reconcile     = "ALLOW_INTERNAL_ONLY"
    }
    error_message = "Only checkout takes calls from outside, and only through the load balancer."
  }

  assert {
    condition = { for name, binding in google_cloud_run_v2_service_iam_binding.invokers : name => binding.members } == {
      checkout      = toset(["allUsers"])
      process_order = toset([google_service_account.push.member])
      charge_order  = toset([google_service_account.push.member])
      reconcile     = toset([google_service_account.scheduler.member])
    }
    error_message = "Pub/Sub alone invokes process_order and charge_order, and the scheduler alone reconcile."
  }

  assert {
    condition = alltrue([
      for name, binding in google_cloud_run_v2_service_iam_binding.invokers :
      binding.role == "roles/run.invoker" && binding.name == google_cloudfunctions2_function.engine[name].name
    ])
    error_message = "Each binding is that of run.invoker on its own function."
  }

  assert {
    condition = alltrue([
      for name, function in google_cloudfunctions2_function.engine :
      function.service_config[0].service_account_email == google_service_account.function[name].email
    ])
    error_message = "Each function runs as its own service account."
  }

  assert {
    condition = alltrue([
      for function in google_cloudfunctions2_function.engine :
      function.build_config[0].service_account == google_service_account.build.id
    ])
    error_message = "Functions are built by the account that may do nothing else."
  }

  assert {
    condition = alltrue([
      for function in google_cloudfunctions2_function.engine :
      function.service_config[0].direct_vpc_network_interface[0].subnetwork == google_compute_subnetwork.instances.id &&
      function.service_config[0].direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    ])
    error_message = "Every function reaches the database's private address through the network."
  }
}

run "secrets" {
  assert {
    condition = {
      for name, function in google_cloudfunctions2_function.engine :
      name => toset([for env in function.service_config[0].secret_environment_variables : "${env.key}=${env.secret}:${env.version}"])
      } == {
      checkout = toset([
        "MERCHDROP_ORDER_ID_SECRETS=merchdrop-order-id-secrets:1",
        "MERCHDROP_STRIPE_WEBHOOK_SECRET=merchdrop-stripe-webhook-secret:1",
      ])
      process_order = toset(["MERCHDROP_ORDER_ID_SECRETS=merchdrop-order-id-secrets:1"])
      charge_order  = toset(["MERCHDROP_STRIPE_API_KEY=merchdrop-stripe-api-key:1"])
      reconcile = toset([
        "MERCHDROP_ORDER_ID_SECRETS=merchdrop-order-id-secrets:1",
        "MERCHDROP_STRIPE_API_KEY=merchdrop-stripe-api-key:1",
      ])
    }
    error_message = "Each function gets the secrets that it uses, by numbered version: who takes webhooks has no key to charge with."
  }

  assert {
    condition = toset([for grant in google_secret_manager_secret_iam_member.function : "${grant.member} ${grant.secret_id} ${grant.role}"]) == toset([
      for pair in [
        ["checkout", "order-id-secrets"], ["checkout", "stripe-webhook-secret"], ["process_order", "order-id-secrets"],
        ["charge_order", "stripe-api-key"], ["reconcile", "order-id-secrets"], ["reconcile", "stripe-api-key"],
      ] : "${google_service_account.function[pair[0]].member} ${google_secret_manager_secret.engine[pair[1]].id} roles/secretmanager.secretAccessor"
    ])
    error_message = "Each function may read the secrets that it gets, and no others."
  }

  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.engine : secret.deletion_protection])
    error_message = "Secrets are protected against deletion: a key without its secret finds its order no more."
  }

  assert {
    condition = alltrue(flatten([
      for function in google_cloudfunctions2_function.engine :
      [for name in keys(function.service_config[0].environment_variables) : !can(regex("SECRET|KEY|PASSWORD|URL", name))]
    ]))
    error_message = "No secret stands in a plain environment variable."
  }
}

run "database" {
  assert {
    condition = (
      google_sql_database_instance.engine.settings[0].ip_configuration[0].ipv4_enabled == false &&
      google_sql_database_instance.engine.settings[0].ip_configuration[0].private_network == google_compute_network.engine.id &&
      length(google_sql_database_instance.engine.settings[0].ip_configuration[0].authorized_networks) == 0
    )
    error_message = "The database has a private address, and no public one."
  }

  assert {
    condition = (
      google_sql_database_instance.engine.deletion_protection &&
      google_sql_database_instance.engine.settings[0].deletion_protection_enabled
    )
    error_message = "The database is protected against deletion, by Terraform and by anybody else."
  }

  assert {
    condition = (
      google_sql_database_instance.engine.settings[0].ip_configuration[0].ssl_mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED" &&
      google_sql_database_instance.engine.settings[0].connector_enforcement == "REQUIRED"
    )
    error_message = "The database takes connections of Cloud SQL's connectors alone, encrypted and with a client's certificate."
  }

  assert {
    condition = (
      google_sql_database_instance.engine.settings[0].availability_type == "REGIONAL" &&
      google_sql_database_instance.engine.settings[0].backup_configuration[0].enabled &&
      google_sql_database_instance.engine.settings[0].backup_configuration[0].point_in_time_recovery_enabled
    )
    error_message = "The database stands in two zones, is backed up, and can be brought back to any moment of the last week."
  }

  assert {
    condition = {
      for flag in google_sql_database_instance.engine.settings[0].database_flags : flag.name => flag.value
      if contains(["cloudsql.iam_authentication", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"], flag.name)
      } == {
      "cloudsql.iam_authentication"         = "on"
      "lock_timeout"                        = "10000"
      "statement_timeout"                   = "30000"
      "idle_in_transaction_session_timeout" = "10000"
    }
    error_message = "Logins go by IAM, and nobody may wait for a lock, run a statement or hold a transaction open for long."
  }

  assert {
    condition = {
      for flag in google_sql_database_instance.engine.settings[0].database_flags : flag.name => flag.value
      if startswith(flag.name, "log_")
      } == {
      "log_checkpoints"            = "on"
      "log_connections"            = "on"
      "log_disconnections"         = "on"
      "log_lock_waits"             = "on"
      "log_error_verbosity"        = "terse"
      "log_min_duration_statement" = "-1"
      "log_min_error_statement"    = "error"
      "log_statement"              = "ddl"
    }
    error_message = "The log says who connected and who changed tables and rights, and holds no statement with its parameters."
  }

  assert {
    condition = alltrue([
      for user in concat(values(google_sql_user.function), [google_sql_user.operator, google_sql_user.migrate]) :
      user.type == "CLOUD_IAM_SERVICE_ACCOUNT" && user.password == null
    ]) && google_sql_database_instance.engine.root_password == null
    error_message = "Nobody has a password."
  }

  assert {
    condition = merge(
      { for name, user in google_sql_user.function : name => user.database_roles },
      { operator = google_sql_user.operator.database_roles, migrate = google_sql_user.migrate.database_roles },
      ) == {
      checkout      = tolist(["merchdrop_checkout"])
      process_order = tolist(["merchdrop_process_order"])
      charge_order  = tolist(["merchdrop_charge_order"])
      reconcile     = tolist(["merchdrop_reconcile"])
      operator      = tolist(["merchdrop_operator"])
      migrate       = tolist(["cloudsqlsuperuser"])
    }
    error_message = "Each login has its own role of the engine and no other; only the migration's is more."
  }

  assert {
    condition = alltrue([
      for name, user in google_sql_user.function :
      user.name == google_service_account.function[name].email &&
      google_cloudfunctions2_function.engine[name].service_config[0].environment_variables["MERCHDROP_DATABASE_USER"] == user.name
    ])
    error_message = "Each function logs in as itself."
  }
}

run "network" {
  assert {
    condition = toset([
      for wall in google_compute_firewall.deny :
      "${wall.direction} ${wall.network} ${one(wall.deny).protocol} ${one(wall.direction == "INGRESS" ? wall.source_ranges : wall.destination_ranges)}"
      ]) == toset([
      for direction in ["INGRESS", "EGRESS"] : "${direction} ${google_compute_network.engine.id} all 0.0.0.0/0"
    ])
    error_message = "Nobody reaches an instance through the network, and an instance nobody but the database."
  }

  assert {
    condition = (
      [for rule in google_compute_firewall.to_database.allow : "${rule.protocol}:${join(",", rule.ports)}"] == ["tcp:3307"] &&
      google_compute_firewall.to_database.direction == "EGRESS" &&
      google_compute_firewall.to_database.priority < google_compute_firewall.deny["EGRESS"].priority &&
      google_compute_firewall.to_database.destination_ranges == toset([
        "${google_compute_global_address.database_range.address}/${google_compute_global_address.database_range.prefix_length}"
      ])
    )
    error_message = "The one way through the network leads to the database's TLS proxy."
  }
}

run "audit" {
  assert {
    condition = {
      for service, config in google_project_iam_audit_config.data : service => toset([for log in config.audit_log_config : log.log_type])
      } == {
      for service in ["cloudsql.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com"] :
      service => toset(["DATA_READ", "DATA_WRITE"])
    }
    error_message = "Whoever reads a secret, writes a zip or logs in to the database is recorded."
  }
}

run "rights" {
  assert {
    condition = toset([for grant in google_project_iam_member.database : grant.role]) == toset([
      "roles/cloudsql.client", "roles/cloudsql.instanceUser",
    ]) && length(google_project_iam_member.database) == 12
    error_message = "The only rights on the whole project are to reach the database and to log in, for four functions and two jobs."
  }

  assert {
    condition = (
      google_project_iam_member.build_source.role == "roles/storage.objectViewer" &&
      google_project_iam_member.build_source.condition[0].expression == "resource.name.startsWith('projects/_/buckets/gcf-v2-sources-')"
    )
    error_message = "A build reads the zip that Cloud Functions hands it, and no other object."
  }

  assert {
    condition     = toset([for grant in google_project_iam_member.build : grant.role]) == toset(["roles/logging.logWriter"])
    error_message = "The build account writes logs, and has nothing else on the whole project."
  }

  assert {
    condition = toset([for grant in google_pubsub_topic_iam_member.publishers : "${grant.member} ${grant.topic} ${grant.role}"]) == toset([
      for pair in [
        ["checkout", "orders"], ["checkout", "payments"], ["process_order", "payments"], ["charge_order", "payments"],
        ["reconcile", "orders"], ["reconcile", "payments"], ["reconcile", "order-events"],
      ] : "${google_service_account.function[pair[0]].member} ${google_pubsub_topic.engine[pair[1]].id} roles/pubsub.publisher"
    ])
    error_message = "Each function publishes to the topics that it hands work to, and to no others."
  }

  assert {
    condition = (
      google_storage_bucket.packages.public_access_prevention == "enforced" &&
      google_storage_bucket.packages.uniform_bucket_level_access
    )
    error_message = "The zips are nobody else's to read."
  }

  assert {
    condition = { for name, job in google_cloud_run_v2_job.operators : name => job.template[0].template[0].service_account } == {
      migrate  = google_service_account.migrate.email
      operator = google_service_account.operator.email
    }
    error_message = "An operator's commands run without the rights of a migration."
  }

  assert {
    condition = {
      for name, job in google_cloud_run_v2_job.operators :
      name => { for env in job.template[0].template[0].containers[0].env : env.name => env.value }
      } == {
      migrate = {
        MERCHDROP_CLOUD_SQL_INSTANCE = google_sql_database_instance.engine.connection_name
        MERCHDROP_DATABASE_USER      = google_sql_user.migrate.name
      }
      operator = {
        MERCHDROP_CLOUD_SQL_INSTANCE = google_sql_database_instance.engine.connection_name
        MERCHDROP_DATABASE_USER      = google_sql_user.operator.name
        MERCHDROP_STRIPE_API_KEY     = "sm://projects/merchdrop-test/secrets/merchdrop-stripe-api-key/versions/1"
      }
    }
    error_message = "Each job logs in as itself; an operator's commands find the provider's key by a reference to the version that the functions have."
  }

  assert {
    condition = [
      for grant in google_secret_manager_secret_iam_member.operator : "${grant.member} ${grant.secret_id} ${grant.role}"
    ] == ["${google_service_account.operator.member} ${google_secret_manager_secret.engine["stripe-api-key"].id} roles/secretmanager.secretAccessor"]
    error_message = "An operator may read the provider's key, and no other secret."
  }
}

run "edge" {
  assert {
    condition     = google_compute_backend_service.api.security_policy == google_compute_security_policy.api.id
    error_message = "Cloud Armor stands in front of checkout."
  }

  assert {
    condition = anytrue([
      for rule in google_compute_security_policy.api.rule :
      rule.priority == 2147483647 && rule.action == "deny(404)" && rule.match[0].versioned_expr == "SRC_IPS_V1"
    ])
    error_message = "What is not one of the API's calls never reaches checkout."
  }

  assert {
    condition = {
      for rule in google_compute_security_policy.api.rule : tostring(rule.priority) => [
        rule.preview, rule.rate_limit_options[0].enforce_on_key, rule.rate_limit_options[0].exceed_action,
        rule.rate_limit_options[0].rate_limit_threshold[0].count, rule.rate_limit_options[0].rate_limit_threshold[0].interval_sec,
      ] if rule.action == "throttle"
      } == merge(
      { "100" = [false, "IP", "deny(429)", 6000, 60] },
      { for number, call in local.allowed_requests : tostring(1000 + number) => [false, "IP", "deny(429)", 600, 60] },
    )
    error_message = "All calls are limited by address, Stripe's far above a buyer's."
  }

  assert {
    condition     = alltrue([for rule in google_compute_security_policy.api.rule : rule.action != "allow"])
    error_message = "Nothing passes without a limit."
  }

  assert {
    condition = (
      google_compute_ssl_policy.api.min_tls_version == "TLS_1_2" &&
      google_compute_target_https_proxy.api.ssl_policy == google_compute_ssl_policy.api.id &&
      google_compute_target_https_proxy.api.url_map == google_compute_url_map.api.id
    )
    error_message = "The API speaks TLS 1.2 or newer."
  }

  assert {
    condition = (
      google_compute_url_map.redirect.default_url_redirect[0].https_redirect &&
      google_compute_target_http_proxy.redirect.url_map == google_compute_url_map.redirect.id &&
      google_compute_global_forwarding_rule.http.target == google_compute_target_http_proxy.redirect.id
    )
    error_message = "Plain HTTP is redirected, and reaches no function."
  }

  assert {
    condition     = google_compute_backend_service.api.cdn_policy[0].cache_mode == "USE_ORIGIN_HEADERS"
    error_message = "Only what checkout calls public is cached: an order's status never is."
  }
}

run "rate_limit_preview" {
  variables {
    rate_limit = { preview = true }
  }

  assert {
    condition     = alltrue([for rule in google_compute_security_policy.api.rule : rule.preview == (rule.priority != 100) if rule.action == "throttle"])
    error_message = "In preview the limit stops nobody."
  }

  assert {
    condition = toset([
      for rule in google_compute_security_policy.api.rule : rule.match[0].expr[0].expression
      if rule.action == "allow" && rule.priority >= 2000
    ]) == toset(local.allowed_requests)
    error_message = "While the limit is only tried out, the same calls pass."
  }
}

run "without_payments" {
  variables {
    payments = { provider = "" }
  }

  assert {
    condition = toset(flatten([
      for function in google_cloudfunctions2_function.engine :
      [for env in function.service_config[0].secret_environment_variables : env.key]
    ])) == toset(["MERCHDROP_ORDER_ID_SECRETS"]) && keys(google_secret_manager_secret.engine) == ["order-id-secrets"]
    error_message = "Without payments there are no secrets of Stripe."
  }
}

run "delivery" {
  assert {
    condition = {
      for name, trigger in google_cloudbuild_trigger.delivery : name => [
        trigger.service_account, trigger.substitutions["_DEPLOY"],
        length(trigger.repository_event_config[0].pull_request), length(trigger.repository_event_config[0].push),
      ]
      } == {
      pull-request = [google_service_account.delivery["plan"].id, "false", 1, 0]
      main         = [google_service_account.delivery["deploy"].id, "true", 0, 1]
    }
    error_message = "A pull request is built by the account that only looks; main alone is deployed, by a push."
  }

  assert {
    condition = (
      google_cloudbuild_trigger.delivery["pull-request"].repository_event_config[0].pull_request[0].comment_control == "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY" &&
      google_cloudbuild_trigger.delivery["pull-request"].repository_event_config[0].pull_request[0].branch == "^main$" &&
      google_cloudbuild_trigger.delivery["main"].repository_event_config[0].push[0].branch == "^main$"
    )
    error_message = "A stranger's pull request is built when a maintainer says so, and only main is deployed."
  }

  assert {
    condition = {
      for job in ["plan", "deploy"] : job => toset([
        for grant in google_project_iam_member.delivery : grant.role if grant.member == google_service_account.delivery[job].member
      ])
      } == {
      plan = toset([
        "roles/artifactregistry.reader", "roles/browser", "roles/cloudbuild.builds.viewer", "roles/cloudfunctions.viewer",
        "roles/cloudscheduler.viewer", "roles/compute.viewer", "roles/iam.roleViewer", "roles/iam.securityReviewer",
        "roles/iam.serviceAccountViewer", "roles/logging.logWriter", "roles/pubsub.viewer", "roles/run.viewer",
        "roles/secretmanager.viewer", "roles/serviceusage.serviceUsageViewer", "roles/storage.bucketViewer",
      ])
      deploy = toset([
        "roles/artifactregistry.reader", "roles/browser", "roles/cloudbuild.builds.viewer", "roles/cloudfunctions.viewer",
        "roles/cloudscheduler.viewer", "roles/compute.viewer", "roles/iam.roleViewer", "roles/iam.securityReviewer",
        "roles/iam.serviceAccountViewer", "roles/logging.logWriter", "roles/pubsub.viewer", "roles/run.viewer",
        "roles/secretmanager.viewer", "roles/serviceusage.serviceUsageViewer", "roles/storage.bucketViewer",
        "roles/cloudfunctions.developer", "roles/cloudscheduler.admin", "roles/cloudsql.editor", "roles/compute.networkAdmin",
        "roles/compute.securityAdmin", "roles/pubsub.editor", "roles/run.developer",
      ])
    }
    error_message = "Who plans may look; who deploys may change what runs, and nobody's rights, users or secrets."
  }

  assert {
    condition = alltrue([
      for permission in google_project_iam_custom_role.look[0].permissions : can(regex("[.](get|list|read)$", permission))
    ]) && toset([for grant in google_project_iam_member.look : grant.role]) == toset([google_project_iam_custom_role.look[0].name])
    error_message = "The role of our own only looks; an export would be all buyers' names and addresses."
  }

  assert {
    condition = toset([for grant in google_storage_bucket_iam_member.delivery : "${grant.member} ${grant.bucket} ${grant.role}"]) == toset(flatten([
      for bucket in ["merchdrop-test-terraform", google_storage_bucket.packages.name] : [
        "${google_service_account.delivery["plan"].member} ${bucket} roles/storage.objectViewer",
        "${google_service_account.delivery["deploy"].member} ${bucket} roles/storage.objectUser",
      ]
    ]))
    error_message = "Who plans can't write the state, nor a zip."
  }

  assert {
    condition = (
      toset([for grant in google_service_account_iam_member.acts_as : grant.member]) == toset([google_service_account.delivery["deploy"].member]) &&
      toset([for grant in google_service_account_iam_member.acts_as : grant.role]) == toset(["roles/iam.serviceAccountUser"]) &&
      toset([for grant in google_artifact_registry_repository_iam_member.deploy : grant.member]) == toset([google_service_account.delivery["deploy"].member])
    )
    error_message = "Only who deploys acts as the engine's accounts, and pushes images."
  }

  assert {
    condition = toset(keys(google_service_account_iam_member.acts_as)) == toset([
      "checkout", "process_order", "charge_order", "reconcile", "build", "migrate", "operator", "push", "scheduler",
    ])
    error_message = "Who deploys acts as everybody whom he deploys something for, and nobody else."
  }
}
