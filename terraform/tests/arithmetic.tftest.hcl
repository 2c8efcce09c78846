# The numbers: what is allowed to connect, to lock and to wait must fit; the examples' do.

mock_provider "google" {}

variables {
  project_id   = "merchdrop-test"
  domain       = "drops.example.com"
  packages_dir = "tests/packages"
}

run "connections_fit" {
  command = plan

  assert {
    # twice (10 checkout + 4 process_order + 2 charge_order + 2 reconcile, with two pools each), four connections a pool
    condition     = terraform_data.arithmetic.input.connections_at_most == 160
    error_message = "Connections are pools x their size, for two revisions at once."
  }

  assert {
    condition     = terraform_data.arithmetic.input.locks_at_most == 8000
    error_message = "Locks are instances of checkout x flushes x orders in a batch, for two revisions at once."
  }

  assert {
    condition = {
      for flag in google_sql_database_instance.engine.settings[0].database_flags : flag.name => flag.value
      if startswith(flag.name, "max_")
    } == { max_connections = "400", max_locks_per_transaction = "256" }
    error_message = "The database has the limits that the arithmetic counts on."
  }
}

run "drop_day" {
  command = plan

  variables {
    drop_day = true
  }

  assert {
    condition = {
      for name, function in google_cloudfunctions2_function.engine :
      name => "${function.service_config[0].min_instance_count} to ${function.service_config[0].max_instance_count}"
    } == { checkout = "4 to 20", process_order = "1 to 4", charge_order = "1 to 2", reconcile = "0 to 2" }
    error_message = "On a drop day instances wait for the buyers."
  }

  assert {
    condition     = google_sql_database_instance.engine.settings[0].tier == "db-custom-4-15360"
    error_message = "On a drop day the database has its larger tier."
  }
}

run "any_other_day" {
  command = plan

  assert {
    condition = {
      for name, function in google_cloudfunctions2_function.engine :
      name => "${function.service_config[0].min_instance_count} to ${function.service_config[0].max_instance_count}"
    } == { checkout = "0 to 10", process_order = "0 to 4", charge_order = "0 to 2", reconcile = "0 to 2" }
    error_message = "Between drops no instance costs anything."
  }

  assert {
    condition     = google_sql_database_instance.engine.settings[0].tier == "db-custom-2-7680"
    error_message = "Between drops the database has its smaller tier."
  }

  assert {
    condition     = google_cloudfunctions2_function.engine["checkout"].service_config[0].max_instance_request_concurrency == 800
    error_message = "checkout has places for waiting status calls, and for those who order."
  }
}

run "too_many_instances_for_the_database" {
  command = plan
  variables {
    checkout = { max = 50, drop_day_max = 50 }
  }
  expect_failures = [terraform_data.arithmetic]
}

run "too_many_on_a_drop_day_alone" {
  command = plan
  variables {
    drop_day = true
    checkout = { drop_day_max = 60 }
  }
  expect_failures = [terraform_data.arithmetic]
}

run "too_few_locks" {
  command = plan
  variables {
    database = { max_locks_per_transaction = 64, max_connections = 200 }
  }
  expect_failures = [terraform_data.arithmetic]
}

run "too_few_addresses" {
  command = plan
  variables {
    subnet_range = "10.8.0.0/26"
    checkout     = { max = 25, drop_day_max = 25 }
    database     = { max_connections = 1000 }
  }
  expect_failures = [terraform_data.arithmetic]
}

run "waiting_calls_crowd_out_buyers" {
  command = plan
  variables {
    checkout = { concurrency = 600 }
  }
  expect_failures = [terraform_data.arithmetic]
}
