"""defender-ingest: every Defender alert of every customer, in Kafka, once."""
