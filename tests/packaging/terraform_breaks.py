"""`python -m tests.packaging.terraform_breaks`: break the module in security and wiring, and see each break caught.

A test that passes on a broken module proves nothing. Exit status 1 if a break isn't caught.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.packaging.terraform import Terraform, why_not


class Break(NamedTuple):
    """A change of one place in a file, and the file of tests that must fail for it."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str


_SECURITY, _WIRING, _ARITHMETIC, _REFUSALS = "security", "wiring", "arithmetic", "refusals"

BREAKS = [
    Break(
        "checkout open beside the load balancer",
        "functions.tf",
        '"ALLOW_INTERNAL_AND_GCLB" # from',
        '"ALLOW_ALL" # from',
        _SECURITY,
    ),
    Break(
        "charge_order open to the world",
        "functions.tf",
        """ONE_CHARGE_SECONDS + local.wait_margin_seconds
      ingress         = "ALLOW_INTERNAL_ONLY\"""",
        """ONE_CHARGE_SECONDS + local.wait_margin_seconds
      ingress         = "ALLOW_ALL\"""",
        _SECURITY,
    ),
    Break(
        "anybody invokes reconcile",
        "functions.tf",
        "reconcile     = [google_service_account.scheduler.member]",
        'reconcile     = ["allUsers"]',
        _SECURITY,
    ),
    Break(
        "nobody may invoke process_order",
        "functions.tf",
        "    process_order = [google_service_account.push.member]\n",
        "",
        _SECURITY,
    ),
    Break(
        "an operator's key that is another one tomorrow",
        "secrets.tf",
        "/versions/${version}",
        "/versions/latest",
        _SECURITY,
    ),
    Break(
        "an operator who may read the order ids' secret",
        "secrets.tf",
        'toset(["stripe-api-key"])',
        'toset(["stripe-api-key", "order-id-secrets"])',
        _SECURITY,
    ),
    Break("a role that does not invoke", "functions.tf", '"roles/run.invoker"', '"roles/run.viewer"', _SECURITY),
    Break(
        "all functions run as one account",
        "functions.tf",
        "google_service_account.function[each.key].email\n    all_traffic",
        'google_service_account.function["reconcile"].email\n    all_traffic',
        _SECURITY,
    ),
    Break("a public address", "database.tf", "ipv4_enabled    = false", "ipv4_enabled    = true", _SECURITY),
    Break(
        "a database that can be deleted",
        "database.tf",
        "deletion_protection = true",
        "deletion_protection = false",
        _SECURITY,
    ),
    Break(
        "no protection outside Terraform",
        "database.tf",
        "_enabled = true\n    retain",
        "_enabled = false\n    retain",
        _SECURITY,
    ),
    Break(
        "connections without a certificate",
        "database.tf",
        "TRUSTED_CLIENT_CERTIFICATE_REQUIRED",
        "ALLOW_UNENCRYPTED_AND_ENCRYPTED",
        _SECURITY,
    ),
    Break(
        "buyers' data in the database's log",
        "database.tf",
        """"log_min_duration_statement"          = "-1\"""",
        """"log_min_duration_statement"          = "1000\"""",
        _SECURITY,
    ),
    Break("changes of rights that nobody records", "database.tf", '= "ddl"', '= "none"', _SECURITY),
    Break("a network open to the world", "network.tf", 'toset(["EGRESS", "INGRESS"])', 'toset(["EGRESS"])', _SECURITY),
    Break("a way past the firewall", "network.tf", 'ports    = ["3307"]', 'ports    = ["0-65535"]', _SECURITY),
    Break(
        "secrets read unseen",
        "audit.tf",
        '"secretmanager.googleapis.com", ',
        "",
        _SECURITY,
    ),
    Break(
        "no point-in-time recovery",
        "database.tf",
        "point_in_time_recovery_enabled = true",
        "point_in_time_recovery_enabled = false",
        _SECURITY,
    ),
    Break(
        "a function as superuser",
        "database.tf",
        'var.migrated ? ["merchdrop_${each.key}"] : []',
        'var.migrated ? ["cloudsqlsuperuser"] : []',
        _SECURITY,
    ),
    Break(
        "a password", "database.tf", 'var.migrated ? ["merchdrop_operator"] : []', 'null\n  password = "x"', _SECURITY
    ),
    Break(
        "the whole database for a role",
        "identities.tf",
        '["roles/cloudsql.client",',
        '["roles/cloudsql.admin",',
        _SECURITY,
    ),
    Break(
        "process_order publishes orders",
        "identities.tf",
        'process_order = ["payments"]',
        'process_order = ["orders"]',
        _SECURITY,
    ),
    Break(
        "an editor who builds",
        "identities.tf",
        'toset(["roles/logging.logWriter"])',
        'toset(["roles/editor"])',
        _SECURITY,
    ),
    Break(
        "the key to charge with in checkout",
        "functions.tf",
        '{ MERCHDROP_STRIPE_WEBHOOK_SECRET = "stripe-webhook-secret" }',
        '{ MERCHDROP_STRIPE_API_KEY = "stripe-api-key" }',
        _SECURITY,
    ),
    Break(
        "the latest secret, whichever it is",
        "functions.tf",
        "tostring(local.secret_versions[secret_environment_variables.value])",
        '"latest"',
        _SECURITY,
    ),
    Break("zips for everybody", "packages.tf", '"enforced"', '"inherited"', _SECURITY),
    Break(
        "no Cloud Armor", "edge.tf", "  security_policy       = google_compute_security_policy.api.id\n", "", _SECURITY
    ),
    Break("every path allowed", "armor.tf", '"deny(404)"', '"allow"', _SECURITY),
    Break(
        "a limit that stops nobody",
        "armor.tf",
        '  exceed_action  = "deny(429)"\n        enforce',
        '  exceed_action  = "allow"\n        enforce',
        _SECURITY,
    ),
    Break("old TLS", "edge.tf", '"TLS_1_2"', '"TLS_1_0"', _SECURITY),
    Break(
        "plain HTTP served",
        "edge.tf",
        "url_map = google_compute_url_map.redirect.id",
        "url_map = google_compute_url_map.api.id",
        _SECURITY,
    ),
    Break("everything cached", "edge.tf", '"USE_ORIGIN_HEADERS"', '"FORCE_CACHE_ALL"', _SECURITY),
    Break(
        "pull requests built with main's rights",
        "build.tf",
        "service_account = google_service_account.delivery[each.value].id",
        'service_account = google_service_account.delivery["deploy"].id',
        _SECURITY,
    ),
    Break("a pull request that deploys", "build.tf", 'tostring(each.value == "deploy")', '"true"', _SECURITY),
    Break(
        "any branch deployed",
        "build.tf",
        'content {\n        branch = "^main$"\n      }\n    }\n  }',
        'content {\n        branch = ".*"\n      }\n    }\n  }',
        _SECURITY,
    ),
    Break(
        "strangers' builds",
        "build.tf",
        '"COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"',
        '"COMMENTS_DISABLED"',
        _SECURITY,
    ),
    Break(
        "a plan that may export the database", "build.tf", '"roles/browser", # the', '"roles/viewer", # the', _SECURITY
    ),
    Break("a look that exports", "build.tf", '"cloudsql.instances.list"', '"cloudsql.instances.export"', _SECURITY),
    Break("a build that reads the state", "identities.tf", "/gcf-v2-sources-')", "/')", _SECURITY),
    Break("a build that gives itself rights", "build.tf", '"roles/run.developer",', '"roles/owner",', _SECURITY),
    Break(
        "a plan that may write the state",
        "build.tf",
        '"roles/storage.objectViewer"',
        '"roles/storage.objectUser"',
        _SECURITY,
    ),
    Break(
        "a constant name of the zips",
        "packages.tf",
        '"${each.key}-${filesha256("${var.packages_dir}/${each.key}.zip")}.zip"',
        '"${each.key}.zip"',
        _WIRING,
    ),
    Break(
        "no right to publish dead letters",
        "queue.tf",
        'role   = "roles/pubsub.publisher"',
        'role   = "roles/pubsub.viewer"',
        _WIRING,
    ),
    Break(
        "no right to take dead letters",
        "queue.tf",
        '  subscription = google_pubsub_subscription.push[each.key].id\n  role         = "roles/pubsub.subscriber"',
        '  subscription = google_pubsub_subscription.push[each.key].id\n  role         = "roles/pubsub.viewer"',
        _WIRING,
    ),
    Break(
        "orders pushed to charge_order", "queue.tf", 'function = "process_order"', 'function = "charge_order"', _WIRING
    ),
    Break(
        "pushes as somebody who may not",
        "queue.tf",
        "service_account_email = google_service_account.push.email",
        "service_account_email = google_service_account.scheduler.email",
        _WIRING,
    ),
    Break(
        "dead letters after five deliveries",
        "queue.tf",
        "max_delivery_attempts = 100",
        "max_delivery_attempts = 5",
        _WIRING,
    ),
    Break("a deadline below the function's", "queue.tf", ".timeout_seconds) + 10", ".timeout_seconds) - 10", _WIRING),
    Break(
        "the scheduler as somebody who may not",
        "schedule.tf",
        "google_service_account.scheduler.email",
        "google_service_account.push.email",
        _WIRING,
    ),
    Break(
        "dead letters that come twice",
        "queue.tf",
        "ack_deadline_seconds       = 60",
        "ack_deadline_seconds       = 10",
        _WIRING,
    ),
    Break(
        "audits cut short",
        "functions.tf",
        "3 * local.engine.AUDIT_STATEMENT_SECONDS",
        "local.engine.AUDIT_STATEMENT_SECONDS",
        _WIRING,
    ),
    Break(
        "images pushed elsewhere",
        "build.tf",
        '"${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"',
        '"gcr.io/${var.project_id}"',
        _WIRING,
    ),
    Break("a plan that takes the jobs away", "outputs.tf", "value       = var.cli_image", 'value       = ""', _WIRING),
    Break("triggers for another region", "variables.tf", "[0] == var.region,", '[0] != "",', _REFUSALS),
    Break("a wait cut short", "engine.tf", "wait_margin_seconds = 15", "wait_margin_seconds = -5", _WIRING),
    Break("a pool too large", "engine.tf", "* local.engine.DATABASE_POOL_MAX", "* 40", _ARITHMETIC),
    Break(
        "connections that nobody counts",
        "engine.tf",
        "revisions_at_once    = 2",
        "revisions_at_once    = 1",
        _ARITHMETIC,
    ),
    Break(
        "locks that nobody counts",
        "engine.tf",
        "local.locks_at_most <= local.locks_there",
        "local.locks_there > 0",
        _ARITHMETIC,
    ),
    Break(
        "buyers crowded out",
        "engine.tf",
        "var.checkout.concurrency >= local",
        "var.checkout.concurrency <= local",
        _ARITHMETIC,
    ),
    Break("browsers from anywhere", "variables.tf", "^https://[a-z0-9.-]+(:[0-9]+)?$", ".*", _REFUSALS),
    Break("an image by its tag", "variables.tf", "^(.+@sha256:[0-9a-f]{64})?$", ".*", _REFUSALS),
]


# What terraform says when an assertion, the arithmetic of the module, or an expected refusal fails. Another error would
# only mean that the break is none which could be applied.
_FAILURES = ("Test assertion failed", "Resource precondition failed", "Missing expected failure")


def catches(terraform: Terraform, broken: Break) -> bool:
    """Whether a test fails on the module with the break in it, for one of its assertions."""
    path = terraform.folder / broken.file
    sound = path.read_text()
    try:
        path.write_text(sound.replace(broken.old, broken.new))
        done = terraform.run("test", "-no-color", f"-filter=tests/{broken.caught_by}.tftest.hcl")
    finally:
        path.write_text(sound)
    return done.returncode != 0 and any(words in done.stdout for words in _FAILURES)


def main() -> int:
    """Go through all of them."""
    with tempfile.TemporaryDirectory() as place:
        terraform = Terraform(Path(place))
        if reason := why_not(terraform):
            print(reason, file=sys.stderr)
            return 2
        terraform.succeed("test", "-no-color")  # the control: nothing fails on the sound module
        missed = 0
        for broken in BREAKS:
            caught = catches(terraform, broken)
            missed += not caught
            print(f"{'caught' if caught else 'MISSED'}  {broken.caught_by:<10}  {broken.name}", flush=True)
        print(f"{len(BREAKS) - missed} of {len(BREAKS)} breaks were caught")
        return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
