variable "billing_account" {
  description = "The billing account to watch, as 000000-000000-000000. Empty: no budget alert."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6})?$", var.billing_account))
    error_message = "billing_account must have the form 000000-000000-000000, or be empty."
  }
}

variable "budget" {
  description = "What a month may cost before people are told (at 50, 90 and 100 % of it, and at 100 % of the forecast)."
  type = object({
    amount   = optional(number, 500)   # A month's, in the currency
    currency = optional(string, "USD") # The billing account's
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount
    error_message = "budget.amount must be a whole number of at least 1."
  }
  validation {
    condition     = can(regex("^[A-Z]{3}$", var.budget.currency))
    error_message = "budget.currency must be the billing account's currency, such as USD."
  }
}

variable "charge_order" {
  description = "Instances and concurrent wake-ups of charge_order. The pace of charges holds for all instances together, so few are needed."
  type = object({
    concurrency  = optional(number, 20) # Requests at once in an instance
    min          = optional(number, 0)  # Instances that stay warm
    max          = optional(number, 2)  # Instances at most
    drop_day_min = optional(number, 1)  # Warm ones with drop_day
    drop_day_max = optional(number, 2)  # At most with drop_day
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.charge_order.concurrency >= 1 && var.charge_order.concurrency <= 1000
    error_message = "charge_order.concurrency must be from 1 to 1000."
  }
  validation {
    condition     = alltrue([for number in values(var.charge_order) : floor(number) == number])
    error_message = "charge_order takes whole numbers."
  }
  validation {
    condition = (
      0 <= var.charge_order.min && var.charge_order.min <= var.charge_order.max && 1 <= var.charge_order.max &&
      var.charge_order.min <= var.charge_order.drop_day_min &&
      var.charge_order.drop_day_min <= var.charge_order.drop_day_max
    )
    error_message = "charge_order needs 0 <= min <= max, 1 <= max, and min <= drop_day_min <= drop_day_max."
  }
}

variable "checkout" {
  description = "Instances and concurrent requests of checkout. One takes about 1,000 orders a second; waiting status calls need the places."
  type = object({
    concurrency  = optional(number, 800) # Requests at once in an instance
    min          = optional(number, 0)   # Instances that stay warm
    max          = optional(number, 10)  # Instances at most
    drop_day_min = optional(number, 4)   # Warm ones with drop_day
    drop_day_max = optional(number, 20)  # At most with drop_day
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.checkout.concurrency >= 1 && var.checkout.concurrency <= 1000
    error_message = "checkout.concurrency must be from 1 to 1000."
  }
  validation {
    condition     = alltrue([for number in values(var.checkout) : floor(number) == number])
    error_message = "checkout takes whole numbers."
  }
  validation {
    condition = (
      0 <= var.checkout.min && var.checkout.min <= var.checkout.max && 1 <= var.checkout.max &&
      var.checkout.min <= var.checkout.drop_day_min && var.checkout.drop_day_min <= var.checkout.drop_day_max
    )
    error_message = "checkout needs 0 <= min <= max, 1 <= max, and min <= drop_day_min <= drop_day_max."
  }
}

variable "checkout_places_min" {
  description = "Requests that an instance of checkout must have room for beside its waiting status calls."
  type        = number
  default     = 200
  nullable    = false

  validation {
    condition     = var.checkout_places_min >= 50 && floor(var.checkout_places_min) == var.checkout_places_min
    error_message = "checkout_places_min must be a whole number of at least 50, or waiting buyers crowd out those who order."
  }
}

variable "cli_image" {
  description = "The operator's command as an image, by digest (…@sha256:…). Empty: no jobs yet, as before the first build."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(.+@sha256:[0-9a-f]{64})?$", var.cli_image))
    error_message = "cli_image must name its image by digest, as REGION-docker.pkg.dev/PROJECT/merchdrop/cli@sha256:…; a tag may mean another image tomorrow."
  }
}

variable "cors_origins" {
  description = "The origins from which browsers may call the API, such as https://shop.example.com."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$", origin))])
    error_message = "cors_origins must be https:// and a host, without a path; * is not taken."
  }
}

variable "database" {
  description = "Size and limits of PostgreSQL. A change of tier or limits restarts it, for about a minute: make it hours before a drop. Disk in GB."
  type = object({
    tier                      = optional(string, "db-custom-2-7680")  # db-custom-CPUS-MEGABYTES, or db-perf-optimized-N-CPUS
    drop_day_tier             = optional(string, "db-custom-4-15360") # The same with drop_day
    edition                   = optional(string, "ENTERPRISE")        # ENTERPRISE_PLUS for the second kind of tier
    availability_type         = optional(string, "REGIONAL")          # In two zones; ZONAL where nothing is sold
    disk_size                 = optional(number, 20)                  # GB; it grows, and never shrinks
    disk_size_max             = optional(number, 200)                 # GB
    max_connections           = optional(number, 400)                 # The arithmetic says how many are needed
    max_locks_per_transaction = optional(number, 256)                 # Times max_connections is the lock table
    backups_kept              = optional(number, 30)                  # Daily ones
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for tier in [var.database.tier, var.database.drop_day_tier] :
      can(regex("^db-(custom-[0-9]+-[0-9]+|perf-optimized-N-[0-9]+)$", tier))
    ])
    error_message = "database.tier and drop_day_tier must be db-custom-CPUS-MEGABYTES or db-perf-optimized-N-CPUS; shared cores have no service level."
  }
  validation {
    condition     = contains(["ENTERPRISE", "ENTERPRISE_PLUS"], var.database.edition)
    error_message = "database.edition must be ENTERPRISE or ENTERPRISE_PLUS."
  }
  validation {
    condition = alltrue([
      for tier in [var.database.tier, var.database.drop_day_tier] :
      startswith(tier, "db-perf-optimized-") == (var.database.edition == "ENTERPRISE_PLUS")
    ])
    error_message = "database.tier and drop_day_tier must be of the edition: db-custom-… for ENTERPRISE, db-perf-optimized-… for ENTERPRISE_PLUS."
  }
  validation {
    condition     = contains(["REGIONAL", "ZONAL"], var.database.availability_type)
    error_message = "database.availability_type must be REGIONAL, or ZONAL where nothing is sold."
  }
  validation {
    condition     = 10 <= var.database.disk_size && var.database.disk_size <= var.database.disk_size_max
    error_message = "database.disk_size must be at least 10 GB, and at most database.disk_size_max."
  }
  validation {
    condition     = 50 <= var.database.max_connections && var.database.max_connections <= 1000
    error_message = "database.max_connections must be from 50 to 1000: each connection costs memory, and the engine needs few."
  }
  validation {
    condition     = 64 <= var.database.max_locks_per_transaction && var.database.max_locks_per_transaction <= 4096
    error_message = "database.max_locks_per_transaction must be from 64 to 4096."
  }
  validation {
    condition     = 7 <= var.database.backups_kept && var.database.backups_kept <= 365
    error_message = "database.backups_kept must be from 7 to 365 days."
  }
  validation {
    condition = alltrue([
      for number in [
        var.database.disk_size, var.database.disk_size_max, var.database.max_connections,
        var.database.max_locks_per_transaction, var.database.backups_kept,
      ] : floor(number) == number
    ])
    error_message = "database takes whole numbers."
  }
}

variable "delivery" {
  description = "The repository that Cloud Build is connected to (2nd generation, in the region), and the bucket of Terraform's state. Null: no triggers."
  type = object({
    repository   = string # projects/…/locations/…/connections/…/repositories/…
    state_bucket = string # Its name
  })
  default = null

  validation {
    condition = try(
      regex("^projects/[^/]+/locations/([^/]+)/connections/[^/]+/repositories/[^/]+$", var.delivery.repository)[0] == var.region,
      var.delivery == null,
    )
    error_message = "delivery.repository must be projects/PROJECT/locations/REGION/connections/NAME/repositories/NAME, in the region of everything else."
  }
  validation {
    condition     = try(can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.delivery.state_bucket)), false) || var.delivery == null
    error_message = "delivery.state_bucket must be the bucket's name, without gs://."
  }
}

variable "domain" {
  description = "The host name of the API, such as drops.example.com. Its A record must point to the output ip_address."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain must be a host name in lower case, without scheme or path."
  }
}

variable "drop_day" {
  description = "Whether a drop is near: keeps instances warm, allows more of them, and gives PostgreSQL its larger tier."
  type        = bool
  default     = false
  nullable    = false
}

variable "migrated" {
  description = "Whether the database has been migrated, so that the engine's roles exist; gives each function its own."
  type        = bool
  default     = false
  nullable    = false
}

variable "order_id_secret_version" {
  description = "The version of the secret merchdrop-order-id-secrets to use."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.order_id_secret_version >= 1 && floor(var.order_id_secret_version) == var.order_id_secret_version
    error_message = "order_id_secret_version must be a whole number of at least 1."
  }
}

variable "packages_dir" {
  description = "The folder with the functions' zips, as `merchdrop package` makes them."
  type        = string
  default     = "../dist"
  nullable    = false

  validation {
    condition = alltrue([
      for name in ["checkout", "process_order", "charge_order", "reconcile"] :
      fileexists("${var.packages_dir}/${name}.zip")
    ])
    error_message = "packages_dir must hold the zip of every function: run `merchdrop package --output` with this folder first."
  }
}

variable "payments" {
  description = "Whether orders above 0 are taken, through Stripe; how many are charged a second; which versions of its secrets to use."
  type = object({
    provider               = optional(string, "stripe") # stripe, or empty: free orders alone
    per_second             = optional(number, 20)       # Below what Stripe allows the account
    api_key_version        = optional(number, 1)        # Of merchdrop-stripe-api-key
    webhook_secret_version = optional(number, 1)        # Of merchdrop-stripe-webhook-secret
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["", "stripe"], var.payments.provider)
    error_message = "payments.provider must be stripe, or empty: then only free orders are taken."
  }
  validation {
    condition     = var.payments.per_second > 0 && var.payments.per_second <= 1000
    error_message = "payments.per_second must be above 0, and below what Stripe allows the account (25 unless you asked)."
  }
  validation {
    condition = alltrue([
      for version in [var.payments.api_key_version, var.payments.webhook_secret_version] :
      version >= 1 && floor(version) == version
    ])
    error_message = "payments.api_key_version and webhook_secret_version must be whole numbers of at least 1."
  }
}

variable "process_order" {
  description = "Instances and concurrent messages of process_order. One decides thousands of orders a second, in batches."
  type = object({
    concurrency  = optional(number, 250) # Requests at once in an instance
    min          = optional(number, 0)   # Instances that stay warm
    max          = optional(number, 4)   # Instances at most
    drop_day_min = optional(number, 1)   # Warm ones with drop_day
    drop_day_max = optional(number, 4)   # At most with drop_day
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.process_order.concurrency >= 1 && var.process_order.concurrency <= 1000
    error_message = "process_order.concurrency must be from 1 to 1000."
  }
  validation {
    condition     = alltrue([for number in values(var.process_order) : floor(number) == number])
    error_message = "process_order takes whole numbers."
  }
  validation {
    condition = (
      0 <= var.process_order.min && var.process_order.min <= var.process_order.max && 1 <= var.process_order.max &&
      var.process_order.min <= var.process_order.drop_day_min &&
      var.process_order.drop_day_min <= var.process_order.drop_day_max
    )
    error_message = "process_order needs 0 <= min <= max, 1 <= max, and min <= drop_day_min <= drop_day_max."
  }
}

variable "project_id" {
  description = "The Google Cloud project, for the engine alone: some rights hold for all of it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be the project's id (6 to 30 lower-case letters, digits and hyphens), not its name or number."
  }
}

variable "rate_limit" {
  description = "Requests of one kind (order, look at an order, look at a drop) that one address may make in a minute before it is answered with 429. Many buyers may share an address. With preview, excess is only logged."
  type = object({
    requests_per_minute = optional(number, 600) # From one address
    preview             = optional(bool, false) # Log what would be refused, and let it pass
  })
  default  = {}
  nullable = false

  validation {
    condition = (
      60 <= var.rate_limit.requests_per_minute && var.rate_limit.requests_per_minute <= 10000 &&
      floor(var.rate_limit.requests_per_minute) == var.rate_limit.requests_per_minute
    )
    error_message = "rate_limit.requests_per_minute must be a whole number from 60 (a buyer who polls every second) to 10000."
  }
}

variable "region" {
  description = "Where everything runs that has a region."
  type        = string
  default     = "europe-west1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as europe-west1, not a zone."
  }
}

variable "subnet_range" {
  description = "The addresses of the functions' and jobs' instances: two for each instance."
  type        = string
  default     = "10.8.0.0/24"
  nullable    = false

  validation {
    condition     = can(cidrhost(var.subnet_range, 1)) && try(tonumber(split("/", var.subnet_range)[1]) <= 26, false)
    error_message = "subnet_range must be an IPv4 range such as 10.8.0.0/24, /26 or larger."
  }
  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.subnet_range))
    error_message = "subnet_range must be private (RFC 1918)."
  }
}
