# A pop-up store: a few hundred units, some thousand buyers. Nothing runs between drops but the database.
project_id   = "merchdrop-small"
domain       = "drops.example.com"
cors_origins = ["https://shop.example.com"]

checkout = {
  max          = 4
  drop_day_min = 2
  drop_day_max = 6
}
database = {
  tier            = "db-custom-1-3840"
  drop_day_tier   = "db-custom-2-7680"
  max_connections = 200
}
budget = {
  amount = 200
}
billing_account = "012345-6789AB-CDEF01"
