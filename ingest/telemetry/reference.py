"""The metrics page, generated from the catalogue."""

from ingest.telemetry.catalogue import CATALOGUE, PREFIX, Described

_INTRO = f"""# Metrics

Generated from the catalogue by `make docs`; do not edit.

`/metrics` on the daemon's listener. Every name begins with `{PREFIX}`. At any time, of what was read
and committed:

    alerts_received_total = sum(alerts_published_total) + alerts_duplicates_total
        + sum(alerts_stale_total) + sum(alerts_quarantined_total)

(`alerts_flapping_total` is part of `alerts_duplicates_total`.)

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """Return the Markdown page with every metric."""
    return _INTRO + "".join(_row(name, described) for name, described in CATALOGUE.items())


def _row(name: str, described: Described) -> str:
    labels = ", ".join(
        f"`{label}`" + (f" ({', '.join(values)})" if len(values) > 1 else "")
        for label, values in (described.labels or {}).items()
    )
    return f"| `{PREFIX}{name}` | {described.kind} | {labels} | {described.text} |\n"
