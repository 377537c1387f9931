"""The bare loop that the daemon is measured beside: fetch over TLS, split, one transaction per page.

No dedup, no budget, no state, no retries: what is left is what the work itself costs in Python.
Run as a process of its own by `python -m tests.bench`; prints one JSON line.
"""

import argparse
import asyncio
import json
import ssl
import time
import zlib
from pathlib import Path
from urllib.parse import quote

import aiohttp
import msgspec
import yaml
from aiokafka import AIOKafkaProducer
from isal import isal_zlib

from ingest.simulator.reader import security_of

PARTITIONS = 12


class Page(msgspec.Struct):
    value: list[msgspec.Raw]


class Name(msgspec.Struct):
    id: str


async def token_of(tenant, session, config, region, ca):
    answer = await session.post(
        f"{config['entra']['login_url']}/{tenant}/oauth2/v2.0/token",
        data={
            "client_id": config["entra"]["client_id"],
            "client_secret": Path(config["entra"]["client_secret_file"]).read_text().strip(),
            "grant_type": "client_credentials",
            "scope": f"{region['resource']}/.default",
        },
        ssl=ca,
    )
    return (await answer.json())["access_token"]


async def work(tenants, session, producer, region, ca):
    read = msgspec.json.Decoder(Page).decode
    name = msgspec.json.Decoder(Name).decode
    query = quote("lastUpdateTime ge 2000-01-01T00:00:00Z")
    count = 0
    while tenants:
        tenant, bearer = tenants.pop()
        answer = await session.get(
            f"{region['api_url']}/api/alerts?$filter={query}&$top=10000&$expand=evidence",
            headers={"Authorization": f"Bearer {bearer}"},
            ssl=ca,
        )
        alerts = read(await answer.read()).value
        batches, now = {}, int(time.time() * 1000)
        await producer.begin_transaction()
        sends = []
        for alert in alerts:
            key = f"{tenant}/{name(alert).id}".encode()
            partition = zlib.crc32(key) % PARTITIONS
            batch = batches.get(partition)
            value = bytes(alert)
            if batch is None or batch.append(key=key, value=value, timestamp=now) is None:
                if batch is not None:
                    sends.append((partition, batch))
                batch = batches[partition] = producer.create_batch()
                batch.append(key=key, value=value, timestamp=now)
        sends += batches.items()
        lanes = {}
        for partition, batch in sends:
            lanes.setdefault(partition, []).append(batch)

        async def send(partition, lane):
            futures = [
                await producer.send_batch(batch, "bare.alerts", partition=partition)
                for batch in lane
            ]
            for future in futures:
                await future

        await asyncio.gather(*(send(partition, lane) for partition, lane in lanes.items()))
        await producer.commit_transaction()
        count += len(alerts)
    return count


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--producers", type=int, default=4)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    region = next(iter(config["regions"].values()))
    ca = ssl.create_default_context(cafile=config["ca_file"])
    tenants = [tenant["id"] for tenant in config["tenants"]]
    aiohttp.set_zlib_backend(isal_zlib)
    producers = [
        AIOKafkaProducer(
            bootstrap_servers=config["kafka"]["bootstrap_servers"],
            **security_of(config["kafka"]),
            transactional_id=f"bare-{number}",
            compression_type="zstd",
            max_batch_size=512 * 1024,
        )
        for number in range(arguments.producers)
    ]
    for producer in producers:
        await producer.start()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        held = [(name, await token_of(name, session, config, region, ca)) for name in tenants]
        cpu, wall = time.process_time(), time.monotonic()
        counts = await asyncio.gather(
            *(work(held, session, producer, region, ca) for producer in producers)
        )
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    for producer in producers:
        await producer.stop()
    print(json.dumps({"alerts": sum(counts), "cpu_seconds": cpu, "wall_seconds": wall}))


if __name__ == "__main__":
    asyncio.run(main())
