"""Read every alert once, with its tenant: what was read and how far go into one transaction of SQLite.

Kafka's own consumer groups keep the two apart: killed between them, a consumer reads some alerts again, or
never. Here a crash at any line loses both or neither. Needs the package confluent-kafka.
"""

import argparse
import sqlite3
import time

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

TABLES = """
CREATE TABLE IF NOT EXISTS alerts (
    source TEXT, id TEXT, tenant TEXT, tenant_name TEXT, alert BLOB, PRIMARY KEY (source, id)
);
CREATE TABLE IF NOT EXISTS offsets (topic TEXT, part INTEGER, next INTEGER, PRIMARY KEY (topic, part));
"""


def main() -> None:
    """Read until there is nothing new for a while, or for ever."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", required=True, help="HOST:PORT,...")
    parser.add_argument("--topic", default="defender.alerts")
    parser.add_argument("--database", required=True, help="a file, made where it is not there")
    parser.add_argument("--idle", type=float, help="end after so many seconds without an alert")
    arguments = parser.parse_args()

    database = sqlite3.connect(arguments.database)
    database.executescript(TABLES)
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.brokers,
            # Needed by the library; no group is joined, and nothing is committed to Kafka.
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign(places(consumer, arguments.topic, database))
    heard = time.monotonic()
    while arguments.idle is None or time.monotonic() - heard < arguments.idle:
        messages = consumer.consume(500, timeout=1)
        if messages:
            keep(messages, database)
            heard = time.monotonic()
    consumer.close()


def places(consumer: Consumer, topic: str, database: sqlite3.Connection) -> list[TopicPartition]:
    """Return every partition, each from where the database says that it was read to."""
    known = consumer.list_topics(topic, timeout=30).topics[topic]
    if known.error is not None:
        raise KafkaException(known.error)
    found = database.execute("SELECT part, next FROM offsets WHERE topic = ?", (topic,))
    read_to = dict(found.fetchall())
    return [TopicPartition(topic, part, read_to.get(part, 0)) for part in known.partitions]


def keep(messages: list[Message], database: sqlite3.Connection) -> None:
    """Store alerts, and how far they were read, in one transaction."""
    with database:
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            headers = {name: value.decode() for name, value in message.headers()}
            # REPLACE: an alert that an operator asked for anew (ce_replay) may be there already.
            database.execute(
                "REPLACE INTO alerts VALUES (?, ?, ?, ?, ?)",
                (
                    headers["ce_source"],
                    headers["ce_id"],
                    headers["ce_tenantid"],
                    headers["ce_tenantname"],
                    message.value(),
                ),
            )
            database.execute(
                "REPLACE INTO offsets VALUES (?, ?, ?)",
                (message.topic(), message.partition(), message.offset() + 1),
            )


if __name__ == "__main__":
    main()
