# A network for the engine's own: its instances, and the database's private address.

resource "google_compute_network" "engine" {
  name                    = "merchdrop"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.engine]
}

resource "google_compute_subnetwork" "instances" {
  name                     = "merchdrop-instances"
  network                  = google_compute_network.engine.id
  region                   = var.region
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "EXCLUDE_ALL_METADATA"
  }
}

# Instances reach the database through Cloud SQL's connector, and nothing else that has a private address; nobody reaches
# them this way, for Cloud Run hands them their requests itself.
resource "google_compute_firewall" "to_database" {
  name               = "merchdrop-to-database"
  network            = google_compute_network.engine.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = ["${google_compute_global_address.database_range.address}/${google_compute_global_address.database_range.prefix_length}"]

  allow {
    protocol = "tcp"
    ports    = ["3307"] # the TLS proxy beside PostgreSQL, which is where connectors go
  }
}

resource "google_compute_firewall" "deny" {
  for_each = toset(["EGRESS", "INGRESS"])

  name               = "merchdrop-deny-${lower(each.key)}"
  network            = google_compute_network.engine.id
  direction          = each.key
  priority           = 65000
  source_ranges      = each.key == "INGRESS" ? ["0.0.0.0/0"] : null
  destination_ranges = each.key == "EGRESS" ? ["0.0.0.0/0"] : null

  deny {
    protocol = "all"
  }
  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_global_address" "database_range" {
  name          = "merchdrop-database"
  network       = google_compute_network.engine.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.engine.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database_range.name]
}
