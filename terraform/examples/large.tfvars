# A drop that a hundred thousand buyers wait for.
project_id   = "merchdrop-large"
region       = "us-central1"
domain       = "drops.example.com"
cors_origins = ["https://shop.example.com", "https://www.example.com"]
drop_day     = true
subnet_range = "10.8.0.0/22"

checkout = {
  concurrency  = 1000
  min          = 1
  max          = 20
  drop_day_min = 20
  drop_day_max = 60
}
process_order = {
  min          = 1
  drop_day_min = 4
  drop_day_max = 8
}
charge_order = {
  min          = 1
  drop_day_max = 4
}
database = {
  tier                      = "db-perf-optimized-N-4"
  drop_day_tier             = "db-perf-optimized-N-8"
  edition                   = "ENTERPRISE_PLUS"
  disk_size                 = 100
  disk_size_max             = 1000
  max_connections           = 800
  max_locks_per_transaction = 512
}
payments = {
  per_second = 80
}
rate_limit = {
  requests_per_minute = 1200
}
budget = {
  amount = 5000
}
billing_account = "012345-6789AB-CDEF01"
