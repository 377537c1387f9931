"""After a downgrade: what a newer release wrote parks its tenant, is told, and is never written over."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingest.simulator.broker import EmbeddedBroker
from tests.harness.installation import PROGRAM, TENANTS, Installation
from tests.integration.test_promtool import get


def newer(value: bytes) -> bytes:
    """Return a record as a later release might write it."""
    content: dict[str, Any] = json.loads(value)
    return json.dumps({**content, "v": 99, "later": True}).encode()


@pytest.mark.timeout(240)
def test_a_newer_record_parks_its_tenant_and_is_never_written_over(
    embedded_kafka: EmbeddedBroker, tmp_path: Path
) -> None:
    here = Installation(embedded_kafka.bootstrap, tmp_path)
    with here.cloud():
        with here.daemon(healthy=TENANTS):
            pass
        written = here.newest("checkpoints")
        headers = sorted(key for key in written if key.endswith("/mde-alerts"))
        assert len(headers) == TENANTS
        checkpoint, registered = headers[0], headers[1].partition("/")[0]
        tenant = checkpoint.partition("/")[0]
        partition, value = written[checkpoint]
        here.put("checkpoints", checkpoint, left := newer(value), partition)
        partition, value = here.newest("tenants")[registered]
        here.put("tenants", registered, unread := newer(value), partition)

        with here.daemon(healthy=TENANTS - 2, parked=2) as url:
            parked = json.loads(get(f"{url}/status?state=parked"))["feeds"]
            reasons = {one["tenant"]: one["reason"] for one in parked}
            assert reasons.keys() == {tenant, registered}
            assert all(
                "of a newer version; it was left as it is" in one for one in reasons.values()
            )
            words = ("tenants", "pause", registered, "--config", str(here.config))
            done = subprocess.run(
                [*PROGRAM, *words], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode != 0
            assert "newer version" in done.stderr
        after = here.newest("checkpoints")
        assert after[checkpoint][1] == left
        assert {key for key in after if key.startswith(tenant)} == {
            key for key in written if key.startswith(tenant)
        }
        assert here.newest("tenants")[registered][1] == unread

        # The release that wrote them is back: here, their own records.
        here.put("checkpoints", checkpoint, written[checkpoint][1], written[checkpoint][0])
        here.put("tenants", registered, value, partition)
        with here.daemon(healthy=TENANTS):
            pass
