import zlib

import pytest

from ingest.model.tenant import FeedKey, Tenant, is_guid, shard_of

GUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GUID.upper(),
        f"{{{GUID}}}",
        GUID.replace("-", ""),
        f"{GUID} ",
        f"{GUID}\n",
        f" {GUID}",
        GUID[:-1],
        f"{GUID}0",
        GUID.replace("f", "g", 1),
        GUID.replace("0", "\u0660", 1),
        "contoso.onmicrosoft.com",
        f"../{GUID}",
    ],
)
def test_what_is_no_guid_in_lower_case_names_no_tenant(text):
    assert not is_guid(text)
    with pytest.raises(ValueError, match="GUID, in lower case"):
        Tenant(text, "Contoso", "eu")


def test_a_tenant_is_named_by_its_guid():
    assert is_guid(GUID)
    assert Tenant(GUID, "Contoso", "eu").id == GUID


def test_a_feed_is_written_as_tenant_and_feed():
    assert str(FeedKey(GUID)) == f"{GUID}/mde-alerts"


def test_a_tenant_keeps_its_shard_and_shards_are_used_evenly():
    assert shard_of(GUID, 32) == zlib.crc32(GUID.encode()) % 32
    tenants = [f"{n:08x}{GUID[8:]}" for n in range(3200)]
    counts = [0] * 32
    for tenant in tenants:
        counts[shard_of(tenant, 32)] += 1
    assert min(counts) > 50
