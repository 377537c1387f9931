"""Defender's alert API: one request at a time, its pages, its budget of calls.

Speaks HTTP to the vendor (aiohttp) and turns bytes into alerts (msgspec, xxhash). Knows nothing of
Kafka.
"""
