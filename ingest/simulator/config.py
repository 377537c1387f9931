"""The daemon's configuration that fits a simulated cloud."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ingest.simulator.cloud import REGION, SimulatedCloud
from ingest.simulator.clouds import REGIONS
from ingest.simulator.times import TICKS
from ingest.simulator.token_endpoint import DEFENDER

_RECONCILE_INTERVALS = 6
_LEAST_LOOK_BACK_SECONDS = 86_400
_MARGIN_SECONDS = 3600
_CONSENT, _HERE = "/consent", ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Fitting:
    """What the configuration needs beside the cloud itself.

    `credential` are keys of its `entra`; `proxy` is the way to a cloud that has names of its own.
    `consent_key` is a file with the key of invitations: with it, and where a redirect address is on this
    machine, the daemon has a consent page there.
    """

    url: str
    ca_file: Path
    credential: Mapping[str, str]
    kafka: str
    prefix: str
    shards: int
    poll_interval: float
    listen_port: int
    proxy: str | None = None
    consent_key: Path | None = None


def fitting_config(cloud: SimulatedCloud, fitting: Fitting) -> dict[str, Any]:
    """Return the configuration: hosts, tenants, and a look-back that reaches the oldest alert."""
    oldest = cloud.oldest() / TICKS
    age = math.ceil(cloud.timeline.now() - oldest) + _MARGIN_SECONDS
    look_back = max(age, _LEAST_LOOK_BACK_SECONDS)
    login_url, regions = _hosts(cloud, fitting.url)
    content: dict[str, Any] = {
        "entra": {
            "client_id": cloud.client_id,
            **fitting.credential,
            "login_url": login_url,
        },
        "ca_file": str(fitting.ca_file),
        "regions": regions,
        "kafka": {
            "bootstrap_servers": fitting.kafka.split(","),
            "prefix": fitting.prefix,
            "shards": fitting.shards,
            "replication_factor": 1,
        },
        "poll": {
            "interval_seconds": fitting.poll_interval,
            "reconcile_interval_seconds": fitting.poll_interval * _RECONCILE_INTERVALS,
            "reconcile_look_back_seconds": look_back,
            "first_look_back_seconds": look_back,
            "parked_probe_seconds": fitting.poll_interval,
        },
        "listen": {"port": fitting.listen_port},
        "tenants": [
            {"id": customer.id, "name": customer.name, "region": customer.region}
            for customer in cloud.customers.values()
            if customer.consented and customer.region in regions
        ],
    }
    if fitting.proxy is not None:
        content["http"] = {"proxy": fitting.proxy}
    pages = (url.removesuffix(_CONSENT) for url in cloud.plan.redirect_urls if _is_here(url))
    page = next(pages, None)
    if page is not None and fitting.consent_key is not None:
        content["consent"] = {
            "url": page,
            "partner": "Example Security",
            "contact": "soc@example.com",
            "key_file": str(fitting.consent_key),
            "port": urlsplit(page).port or 80,
        }
    if not cloud.plan.limits:
        content["source"] = {"calls_per_minute": 1_000_000, "calls_per_hour": 60_000_000}
    return content


def _hosts(cloud: SimulatedCloud, url: str) -> tuple[str, dict[str, Any]]:
    """Return the login host of the first region, and the regions whose tenants sign in there."""
    if not cloud.plan.regions:
        return url, {REGION: {"api_url": url, "resource": DEFENDER}}
    login = REGIONS[cloud.plan.regions[0]].login
    known = {name: REGIONS[name] for name in cloud.plan.regions if REGIONS[name].login == login}
    return f"https://{login}", {
        name: {
            "api_url": f"https://{hosts.api}",
            "resource": hosts.resource,
            "login_url": f"https://{login}",
        }
        for name, hosts in known.items()
    }


def _is_here(url: str) -> bool:
    here = urlsplit(url)
    return here.scheme == "http" and here.hostname in _HERE and here.path == _CONSENT


def write_config(path: Path, content: dict[str, Any]) -> None:
    """Write the configuration as a file for `defender-ingest run --config`."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(f"# Fits a running `defender-ingest simulate`.\n{text}", encoding="utf-8")
