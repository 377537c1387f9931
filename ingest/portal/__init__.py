"""What the process serves over HTTP: probes, metrics, status as JSON."""
