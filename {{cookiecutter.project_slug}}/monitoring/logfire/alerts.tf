# Alerts and a dashboard for Pydantic Logfire. Written against the documentation of the provider (0.1.13) and not applied
# by the tests of this project: run `terraform plan` before you trust it. LOGFIRE_API_KEY comes from the environment.
terraform {
  required_version = ">= 1.8"
  required_providers {
    logfire = {
      source  = "pydantic/logfire"
      version = ">= 0.1.13, < 0.2.0"
    }
  }
}

variable "project_id" {
  type        = string
  description = "The id of the Logfire project that receives the traces."
}

variable "webhook_url" {
  type        = string
  sensitive   = true
  description = "Where alerts are sent."
}

variable "environment" {
  type    = string
  default = "production"
}

resource "logfire_channel" "team" {
  name = "team"

  config {
    type   = "webhook"
    format = "auto"
    url    = var.webhook_url
  }
}

locals {
  alerts = {
    unhandled-exceptions = {
      description = "An exception nobody handles; grouped by fingerprint. docs/runbook.md#errorspike"
      window      = "10m"
      query       = <<-SQL
        select attributes->>'logfire.exception.fingerprint' as fingerprint, span_name, count(*) as times,
               max(trace_id) as example
        from records
        where is_exception
        group by 1, 2
        having count(*) > 10
      SQL
    }
    answers-fail = {
      description = "More than a fifth of all answers fail. docs/runbook.md#answersfail"
      window      = "10m"
      query       = <<-SQL
        select count(*) as answers,
               count(*) filter (where attributes->>'run.outcome' = 'error') as failed
        from records
        where span_name = 'run'
        having count(*) > 10 and count(*) filter (where attributes->>'run.outcome' = 'error') > 0.2 * count(*)
      SQL
    }
    saving-fails = {
      description = "A worker cannot save its answers. docs/runbook.md#savingfails"
      window      = "5m"
      query       = <<-SQL
        select service_instance_id, max(scalar_value) as seconds
        from metrics
        where metric_name = 'app.saves.behind'
        group by 1
        having max(scalar_value) > 30
      SQL
    }
    requests-fail = {
      description = "More than one request in a hundred fails. docs/runbook.md#availabilityburnsfast"
      window      = "1h"
      query       = <<-SQL
        select count(*) as requests, count(*) filter (where http_response_status_code >= 500) as failed
        from records
        where kind = 'span' and http_response_status_code is not null and parent_span_id is null
        having count(*) > 100 and count(*) filter (where http_response_status_code >= 500) > 0.01 * count(*)
      SQL
    }
    jobs-fail = {
      description = "Background work fails again and again. docs/runbook.md#jobsfail"
      window      = "15m"
      query       = <<-SQL
        select span_name, count(*) as failed
        from records
        where span_name like 'job %' and level >= 'error'
        group by 1
        having count(*) > 2
      SQL
    }
  }
}

resource "logfire_alert" "alert" {
  for_each = local.alerts

  project_id   = var.project_id
  name         = each.key
  description  = each.value.description
  query        = each.value.query
  time_window  = each.value.window
  frequency    = "5m"
  environments = [var.environment]
  channel_ids  = [logfire_channel.team.id]
  notify_when  = "has_matches"
  active       = true
}

resource "logfire_dashboard" "answers" {
  project_id = var.project_id
  name       = "Answers"
  slug       = "answers"
  definition = file("${path.module}/dashboard.json")
}
