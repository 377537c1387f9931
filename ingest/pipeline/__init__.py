"""The use case: read a tenant's window, decide, commit, advance; when to do it, and when to stop.

No I/O of its own: the clouds and Kafka are behind the ports in `ports.py`. The only home of
tenacity.
"""
