# What calls what, with which time-outs, and what is deployed when.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id   = "merchdrop-test"
  domain       = "drops.example.com"
  packages_dir = "tests/packages"
}

run "packages" {
  assert {
    condition = alltrue([
      for name, object in google_storage_bucket_object.package :
      object.name == "${name}-${filesha256("tests/packages/${name}.zip")}.zip" && object.source == "tests/packages/${name}.zip"
    ])
    error_message = "A zip's name holds its hash: a constant name would never be deployed again."
  }

  assert {
    condition = alltrue([
      for name, function in google_cloudfunctions2_function.engine :
      function.build_config[0].entry_point == name &&
      function.build_config[0].source[0].storage_source[0].object == google_storage_bucket_object.package[name].name &&
      function.build_config[0].source[0].storage_source[0].bucket == google_storage_bucket.packages.name
    ])
    error_message = "Each function is built from its own zip."
  }
}

run "queue" {
  assert {
    condition = {
      for name, subscription in google_pubsub_subscription.push : name => [
        subscription.topic, subscription.push_config[0].push_endpoint, subscription.dead_letter_policy[0].dead_letter_topic
      ]
      } == {
      process-order = [
        google_pubsub_topic.engine["orders"].id,
        google_cloudfunctions2_function.engine["process_order"].service_config[0].uri,
        google_pubsub_topic.engine["orders-dead-letter"].id,
      ]
      charge-order = [
        google_pubsub_topic.engine["payments"].id,
        google_cloudfunctions2_function.engine["charge_order"].service_config[0].uri,
        google_pubsub_topic.engine["payments-dead-letter"].id,
      ]
    }
    error_message = "Orders go to process_order and payments to charge_order, each with dead letters of its own."
  }

  assert {
    condition = alltrue([
      for subscription in google_pubsub_subscription.push :
      subscription.push_config[0].oidc_token[0].service_account_email == google_service_account.push.email &&
      subscription.push_config[0].oidc_token[0].audience == subscription.push_config[0].push_endpoint
    ])
    error_message = "Pushes carry the identity that may invoke, for the very function they go to."
  }

  assert {
    condition     = alltrue([for subscription in google_pubsub_subscription.push : subscription.dead_letter_policy[0].max_delivery_attempts == 100])
    error_message = "An outage must not turn orders into dead letters: a hundred deliveries are the most there are."
  }

  assert {
    condition = toset([
      for grant in google_pubsub_topic_iam_member.dead_letter : "${grant.topic} ${grant.role} ${grant.member}"
      ]) == toset([
      for name in ["orders-dead-letter", "payments-dead-letter"] :
      "${google_pubsub_topic.engine[name].id} roles/pubsub.publisher serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    ])
    error_message = "Without its agent's right to publish dead letters, Pub/Sub would deliver for ever."
  }

  assert {
    condition = toset([
      for grant in google_pubsub_subscription_iam_member.dead_letter : "${grant.subscription} ${grant.role} ${grant.member}"
      ]) == toset([
      for subscription in google_pubsub_subscription.push :
      "${subscription.id} roles/pubsub.subscriber serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    ])
    error_message = "Pub/Sub's agent takes dead letters off the subscriptions."
  }

  assert {
    condition = (
      google_service_account_iam_member.push_tokens.service_account_id == google_service_account.push.name &&
      google_service_account_iam_member.push_tokens.role == "roles/iam.serviceAccountTokenCreator" &&
      google_service_account_iam_member.push_tokens.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    )
    error_message = "Pub/Sub's agent signs as the push account."
  }

  assert {
    condition = alltrue([
      for subscription in concat(
        values(google_pubsub_subscription.push), values(google_pubsub_subscription.dead_letter), [google_pubsub_subscription.order_events_example],
      ) : subscription.expiration_policy[0].ttl == ""
    ])
    error_message = "No subscription goes away after a month without a drop."
  }

  assert {
    condition = {
      for name, grant in google_pubsub_subscription_iam_member.reconcile : name => [grant.subscription, grant.role, grant.member]
      } == {
      for name in ["orders-dead-letter", "payments-dead-letter"] : name => [
        google_pubsub_subscription.dead_letter[name].id, "roles/pubsub.subscriber", google_service_account.function["reconcile"].member,
      ]
    }
    error_message = "reconcile pulls the dead letters."
  }

  assert {
    condition = alltrue([
      for name, subscription in google_pubsub_subscription.dead_letter : subscription.topic == google_pubsub_topic.engine[name].id
    ])
    error_message = "The pull subscriptions hold the dead letters of the topic whose name they bear."
  }

  assert {
    # reconcile works on a pull for as long as a batch of orders takes with a busy database
    condition     = alltrue([for subscription in google_pubsub_subscription.dead_letter : subscription.ack_deadline_seconds >= 60])
    error_message = "A dead letter must not come again while it is being worked on."
  }

  assert {
    condition     = google_pubsub_subscription.order_events_example.enable_message_ordering
    error_message = "An order's events come in their order."
  }
}

run "schedule" {
  assert {
    condition = (
      google_cloud_scheduler_job.reconcile.schedule == "* * * * *" &&
      google_cloud_scheduler_job.reconcile.http_target[0].uri == google_cloudfunctions2_function.engine["reconcile"].service_config[0].uri &&
      google_cloud_scheduler_job.reconcile.http_target[0].oidc_token[0].audience == google_cloudfunctions2_function.engine["reconcile"].service_config[0].uri &&
      google_cloud_scheduler_job.reconcile.http_target[0].oidc_token[0].service_account_email == google_service_account.scheduler.email
    )
    error_message = "reconcile is called every minute, by the one who may."
  }
}

run "timeouts" {
  assert {
    condition     = google_cloudfunctions2_function.engine["checkout"].service_config[0].timeout_seconds > local.engine.WAIT_SECONDS_MAX
    error_message = "A waiting status call must have its time."
  }

  assert {
    condition = alltrue([
      for name, details in local.pushes :
      google_pubsub_subscription.push[name].ack_deadline_seconds > google_cloudfunctions2_function.engine[details.function].service_config[0].timeout_seconds
    ])
    error_message = "A message must not be delivered again while its first delivery is at work."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.engine["charge_order"].service_config[0].timeout_seconds >
      local.engine.CHARGE_SECONDS + local.engine.ONE_CHARGE_SECONDS
    )
    error_message = "A charge that was begun must have its time."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.engine["reconcile"].service_config[0].timeout_seconds >
      local.engine.RECONCILE_SECONDS + local.engine.LOOK_UP_SECONDS + local.engine.REFUND_SECONDS + 2 * local.engine.ONE_CHARGE_SECONDS +
      local.engine.AUDIT_SECONDS + 3 * local.engine.AUDIT_STATEMENT_SECONDS &&
      tonumber(trimsuffix(google_cloud_scheduler_job.reconcile.attempt_deadline, "s")) >
      google_cloudfunctions2_function.engine["reconcile"].service_config[0].timeout_seconds
    )
    error_message = "A run of reconcile must have its time."
  }
}

run "edge" {
  assert {
    condition = (
      google_compute_region_network_endpoint_group.checkout.cloud_run[0].service == google_cloudfunctions2_function.engine["checkout"].name &&
      toset([for backend in google_compute_backend_service.api.backend : backend.group]) == toset([google_compute_region_network_endpoint_group.checkout.id]) &&
      google_compute_url_map.api.default_service == google_compute_backend_service.api.id
    )
    error_message = "The load balancer leads to checkout, and to nothing else."
  }

  assert {
    condition     = google_compute_managed_ssl_certificate.api.managed[0].domains == tolist(["drops.example.com"]) && output.api_url == "https://drops.example.com"
    error_message = "The certificate is that of the domain."
  }
}

run "before_the_first_build_and_migration" {
  assert {
    condition     = length(google_cloud_run_v2_job.operators) == 0 && length(google_billing_budget.month) == 0 && length(google_cloudbuild_trigger.delivery) == 0
    error_message = "There are no jobs before there is an image, no budget without an account, and no triggers without a repository."
  }

  assert {
    condition     = alltrue([for user in google_sql_user.function : length(user.database_roles) == 0])
    error_message = "Roles that no migration made yet can't be given."
  }
}

run "delivery" {
  variables {
    cli_image = "europe-west1-docker.pkg.dev/merchdrop-test/merchdrop/cli@sha256:0123456789012345678901234567890123456789012345678901234567890123"
    delivery = {
      repository   = "projects/merchdrop-test/locations/europe-west1/connections/shop/repositories/merchdrop"
      state_bucket = "merchdrop-test-terraform"
    }
  }

  assert {
    condition = alltrue([
      for trigger in google_cloudbuild_trigger.delivery :
      trigger.filename == "cloudbuild.yaml" && trigger.repository_event_config[0].repository == var.delivery.repository &&
      trigger.substitutions["_REGION"] == "europe-west1" && trigger.substitutions["_STATE_BUCKET"] == "merchdrop-test-terraform" &&
      trigger.substitutions["_REPOSITORY"] == output.image_repository
    ])
    error_message = "The triggers build this repository, with this project's state, and push where the jobs look for their image."
  }

  assert {
    condition     = output.cli_image == var.cli_image && alltrue([for job in google_cloud_run_v2_job.operators : job.template[0].template[0].containers[0].image == var.cli_image])
    error_message = "The jobs run the image that was built, and a plan can find it again."
  }
}
