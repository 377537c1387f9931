"""A running simulator as the audit and the demo see it: through its admin endpoints."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 60


class RemoteCloud:
    """Asks the simulator for its record, and tells it to freeze.

    Args:
        url: its address, such as https://127.0.0.1:8443.
        ca_file: its certificate authority.
    """

    def __init__(self, *, url: str, ca_file: Path) -> None:
        if not url.startswith("https://"):
            raise ValueError(f"the simulator speaks TLS: expected https://HOST:PORT, got {url}")
        self._url = url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_file)

    def get(self, path: str) -> bytes:
        """Return the answer of an admin endpoint."""
        return self._ask(path, None)

    def post(self, path: str, **body: Any) -> bytes:
        """Send something to an admin endpoint and return the answer."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - https was demanded above
            f"{self._url}/admin/{path}",
            data=body,
            headers={"Content-Type": "application/json"},
            method="GET" if body is None else "POST",
        )
        with urllib.request.urlopen(  # noqa: S310 - same
            request, timeout=_TIMEOUT_SECONDS, context=self._tls
        ) as answer:
            content: bytes = answer.read()
            return content

    def record(self) -> Iterator[dict[str, Any]]:
        """Yield the simulator's record, one version after another."""
        return (json.loads(line) for line in self.get("record").splitlines() if line)

    def outages(self) -> dict[str, list[list[float | None]]]:
        """Return the times in which it kept tenants from being read."""
        outages: dict[str, list[list[float | None]]] = json.loads(self.get("outages"))
        return outages

    def faults(self) -> dict[str, int]:
        """Return how often each kind of fault was injected."""
        faults: dict[str, int] = json.loads(self.get("faults"))
        return faults

    def tenants(self) -> list[dict[str, str]]:
        """Return its tenants, each with id, name and region."""
        tenants: list[dict[str, str]] = json.loads(self.get("tenants"))
        return tenants

    def summary(self) -> dict[str, Any]:
        """Return its live counts."""
        summary: dict[str, Any] = json.loads(self.get("summary"))
        return summary

    def freeze(self) -> None:
        """End births, changes and faults; what was held back becomes visible."""
        self.post("freeze")
