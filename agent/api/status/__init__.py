"""Status, health and metrics: as JSON, as a page, for Prometheus."""
