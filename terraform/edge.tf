# The way in: one address, TLS 1.2 or newer, a certificate that renews itself, and a cache for what says it is public.

resource "google_compute_global_address" "api" {
  name       = "merchdrop-api"
  depends_on = [google_project_service.engine]
}

resource "google_compute_managed_ssl_certificate" "api" {
  name = "merchdrop-${substr(sha256(var.domain), 0, 8)}" # another domain is another certificate, made before the old one goes
  managed {
    domains = [var.domain]
  }
  depends_on = [google_project_service.engine]
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_network_endpoint_group" "checkout" {
  name                  = "merchdrop-checkout"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloudfunctions2_function.engine["checkout"].name
  }
}

resource "google_compute_backend_service" "api" {
  name                  = "merchdrop-api"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.api.id

  backend {
    group = google_compute_region_network_endpoint_group.checkout.id
  }

  # Only answers with `Cache-Control: public`: a drop's status for a second, which a crowd asks for together.
  enable_cdn = true
  cdn_policy {
    cache_mode       = "USE_ORIGIN_HEADERS"
    negative_caching = false
    cache_key_policy {
      include_host         = true
      include_protocol     = true
      include_query_string = true
    }
  }
  custom_response_headers = ["Strict-Transport-Security: max-age=31536000"]
  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

resource "google_compute_url_map" "api" {
  name            = "merchdrop-api"
  default_service = google_compute_backend_service.api.id
}

resource "google_compute_ssl_policy" "api" {
  name            = "merchdrop-api"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
  depends_on      = [google_project_service.engine]
}

resource "google_compute_target_https_proxy" "api" {
  name             = "merchdrop-api"
  url_map          = google_compute_url_map.api.id
  ssl_certificates = [google_compute_managed_ssl_certificate.api.id]
  ssl_policy       = google_compute_ssl_policy.api.id
}

resource "google_compute_global_forwarding_rule" "https" {
  name                  = "merchdrop-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.api.id
}

# Plain HTTP is answered with a redirect, and reaches no function.
resource "google_compute_url_map" "redirect" {
  name = "merchdrop-redirect"
  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
  depends_on = [google_project_service.engine]
}

resource "google_compute_target_http_proxy" "redirect" {
  name    = "merchdrop-redirect"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "http" {
  name                  = "merchdrop-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api.id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect.id
}
