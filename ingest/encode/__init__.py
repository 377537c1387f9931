"""Alerts into Kafka records: the raw bytes as value, everything added in headers."""
