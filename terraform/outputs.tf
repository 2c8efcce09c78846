output "api_url" {
  description = "Where buyers' shops call the API."
  value       = "https://${var.domain}"
}

output "cli_image" {
  description = "The image that the jobs run: a plan without another one takes it again."
  value       = var.cli_image
}

output "database_instance" {
  description = "The database's connection name, for Cloud SQL's connectors."
  value       = google_sql_database_instance.engine.connection_name
}

output "function_urls" {
  description = "The functions' own addresses, which answer only those who may invoke them."
  value       = { for name, function in google_cloudfunctions2_function.engine : name => function.service_config[0].uri }
}

output "image_repository" {
  description = "Where the image of the operator's command is pushed to."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "ip_address" {
  description = "The API's address: point the domain's A record to it."
  value       = google_compute_global_address.api.address
}

output "jobs" {
  description = "The jobs that run the operator's command; none before cli_image is set."
  value       = { for name, job in google_cloud_run_v2_job.operators : name => job.name }
}

output "limits" {
  description = "What the arithmetic allows at most: database connections, locks of checkout, addresses."
  value       = terraform_data.arithmetic.input
}

output "packages" {
  description = "The deployed zips, by function: each named by its SHA-256."
  value       = { for name, object in google_storage_bucket_object.package : name => object.name }
}

output "secrets" {
  description = "The secrets whose values have to be added by hand."
  value       = { for name, secret in google_secret_manager_secret.engine : name => secret.secret_id }
}
