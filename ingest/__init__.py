"""defender-ingest: every Defender alert of every customer, in Kafka, once."""

__version__ = "0.1.0"
