"""Drives what the source does in steps, at one go."""

from ingest.source import records


def split(body):
    """Return the records and the link of an answer."""
    steps = records.split(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
