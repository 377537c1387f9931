"""Kafka: shards, transactions, checkpoints and topics.

The only home of aiokafka. A commit is one transaction of alerts and their checkpoint, or nothing.
"""
