"""The cluster's state and counters for Prometheus."""
