"""What the process says of itself: the metrics catalogue and the logs.

The only home of prometheus-client and structlog's configuration.
"""
