# Bad inputs are refused before anything is planned, each by its own variable. A run holds as many as there are variables:
# every one of them has to be refused.

mock_provider "google" {}

variables {
  project_id   = "merchdrop-test"
  domain       = "drops.example.com"
  packages_dir = "tests/packages"
}

run "first_of_each" {
  command = plan
  variables {
    project_id              = "123456789012"                                       # project by number
    domain                  = "https://drops.example.com"                          # domain with scheme
    region                  = "europe-west1-b"                                     # zone for a region
    packages_dir            = "tests/none"                                         # zips that are not there
    cli_image               = "europe-west1-docker.pkg.dev/p/merchdrop/cli:latest" # image by tag
    cors_origins            = ["*"]                                                # any origin
    database                = { tier = "db-f1-micro" }                             # shared core
    checkout                = { concurrency = 1001 }                               # concurrency above cloud runs
    process_order           = { max = 0 }                                          # no instances
    charge_order            = { max = 0, drop_day_min = 0, drop_day_max = 0 }      # no charges
    checkout_places_min     = 10                                                   # too few places
    payments                = { provider = "paypal" }                              # unknown provider
    order_id_secret_version = 0                                                    # order secret without a number
    rate_limit              = { requests_per_minute = 10 }                         # limit below a polling buyer
    subnet_range            = "10.8.0.0/28"                                        # subnet too small
    billing_account         = "ours"                                               # billing account by name
    budget                  = { amount = 0 }                                       # budget of nothing
  }
  expect_failures = [var.project_id, var.domain, var.region, var.packages_dir, var.cli_image, var.cors_origins, var.database, var.checkout, var.process_order, var.charge_order, var.checkout_places_min, var.payments, var.order_id_secret_version, var.rate_limit, var.subnet_range, var.billing_account, var.budget]
}

run "second_of_each" {
  command = plan
  variables {
    cors_origins  = ["http://shop.example.com"]       # origin without tls
    database      = { drop_day_tier = "db-g1-small" } # shared core on a drop day
    checkout      = { drop_day_min = 30 }             # more warm than allowed
    process_order = { concurrency = 0 }               # no concurrency
    charge_order  = { concurrency = 0 }               # no wake ups
    payments      = { per_second = 0 }                # no pace
    subnet_range  = "8.8.0.0/24"                      # subnet of others
    budget        = { currency = "$" }                # currency by symbol
    delivery = {                                      # repository of another region
      repository   = "projects/merchdrop-test/locations/us-central1/connections/shop/repositories/merchdrop"
      state_bucket = "merchdrop-test-terraform"
    }
  }
  expect_failures = [var.cors_origins, var.database, var.checkout, var.process_order, var.charge_order, var.payments, var.subnet_range, var.budget, var.delivery]
}

run "third_of_each" {
  command = plan
  variables {
    database = { edition = "BASIC" }         # unknown edition
    checkout = { min = 5, drop_day_min = 2 } # fewer on a drop day
    payments = { api_key_version = 0 }       # secret without a number
    delivery = {                             # bucket by address
      repository   = "projects/merchdrop-test/locations/europe-west1/connections/shop/repositories/merchdrop"
      state_bucket = "gs://merchdrop-test-terraform"
    }
  }
  expect_failures = [var.database, var.checkout, var.payments, var.delivery]
}

run "fourth_of_each" {
  command = plan
  variables {
    database = { availability_type = "GLOBAL" } # unknown availability
    delivery = {                                # first generation
      repository   = "github.com/example/merchdrop"
      state_bucket = "merchdrop-test-terraform"
    }
  }
  expect_failures = [var.database, var.delivery]
}

run "fifth_of_each" {
  command = plan
  variables {
    database = { disk_size = 300 } # disk above its limit
  }
  expect_failures = [var.database]
}

run "sixth_of_each" {
  command = plan
  variables {
    database = { max_connections = 10 } # too few connections
  }
  expect_failures = [var.database]
}

run "seventh_of_each" {
  command = plan
  variables {
    database = { max_locks_per_transaction = 10 } # too few locks
  }
  expect_failures = [var.database]
}

run "eighth_of_each" {
  command = plan
  variables {
    database = { backups_kept = 1 } # too few backups
  }
  expect_failures = [var.database]
}

run "ninth_of_each" {
  command = plan
  variables {
    database = { tier = "db-perf-optimized-N-4", drop_day_tier = "db-perf-optimized-N-8" } # the larger edition's tiers
  }
  expect_failures = [var.database]
}

run "fractions" {
  command = plan
  variables {
    checkout            = { concurrency = 700.5 }
    process_order       = { max = 3.5 }
    charge_order        = { drop_day_min = 0.5 }
    checkout_places_min = 200.5
    database            = { max_connections = 400.5 }
    rate_limit          = { requests_per_minute = 600.5 }
  }
  expect_failures = [var.checkout, var.process_order, var.charge_order, var.checkout_places_min, var.database, var.rate_limit]
}
