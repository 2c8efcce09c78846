# Cloud Armor in front of checkout: only the API's paths and methods, and so many requests a minute from one address.

locals {
  # Each path with its methods; OPTIONS everywhere, for browsers. A rule's expression may hold a few of them.
  allowed_requests = [
    "request.path == '/v1/checkout' && request.method.matches('^(POST|OPTIONS)$')",
    "request.path.matches('^/v1/orders/[^/]+(/cancel)?$') && request.method.matches('^(GET|HEAD|POST|OPTIONS)$')",
    "request.path.matches('^/v1/(drops/[^/]+|openapi[.]json|health)$') && request.method.matches('^(GET|HEAD|OPTIONS)$')",
  ]
}

resource "google_compute_security_policy" "api" {
  #checkov:skip=CKV_GCP_73:No Java runs behind it, so there is no Log4j to attack; a rule on that text would only refuse buyers' notes that look like it
  name        = "merchdrop-api"
  description = "What may reach checkout"
  type        = "CLOUD_ARMOR"

  # Stripe's events come from few addresses, many at once, and again when they are refused: far more of them than a buyer's
  # calls. Each is signed, and checkout checks that.
  rule {
    priority    = 100
    action      = "throttle"
    description = "Webhooks"
    match {
      expr {
        expression = "request.path == '/v1/webhooks/stripe' && request.method == 'POST'"
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = 6000
        interval_sec = 60
      }
    }
  }

  dynamic "rule" {
    for_each = local.allowed_requests
    content {
      priority    = 1000 + rule.key
      action      = "throttle"
      description = "The API's calls, so many a minute from one address"
      preview     = var.rate_limit.preview
      match {
        expr {
          expression = rule.value
        }
      }
      rate_limit_options {
        conform_action = "allow"
        exceed_action  = "deny(429)"
        enforce_on_key = "IP"
        rate_limit_threshold {
          count        = var.rate_limit.requests_per_minute
          interval_sec = 60
        }
      }
    }
  }

  # With a throttle in preview nothing above allows, so this does.
  dynamic "rule" {
    for_each = var.rate_limit.preview ? local.allowed_requests : []
    content {
      priority    = 2000 + rule.key
      action      = "allow"
      description = "The API's calls, while the limit is only tried out"
      match {
        expr {
          expression = rule.value
        }
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "deny(404)"
    description = "Everything else"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.engine]
}
