"""The service: REST, persistence, artifacts and the dashboard. Never loads torch."""
