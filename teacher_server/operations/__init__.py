"""What operators watch: readiness, metrics, logs and webhooks."""
