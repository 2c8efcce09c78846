terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.26, < 8.0" # direct VPC egress of functions, and the roles of database users
    }
  }

  # The bucket is named at init: terraform init -backend-config=bucket=NAME
  backend "gcs" {
    prefix = "merchdrop"
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  default_labels = { app = "merchdrop" }
}
