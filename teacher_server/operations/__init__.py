"""What operators need: readiness, metrics, logs, background tasks and webhooks."""
