"""Which topic alerts go to: by what never changes in their life, and never by chance."""

import re

import pytest

from ingest.model.route import Route
from ingest.model.tenant import Feed, Tenant

GUID = "11111111-2222-3333-4444-555555555555"
GOLD = Tenant(GUID, "Contoso", "eu", (("tier", "gold"),))
PLAIN = Tenant(GUID, "Contoso", "us")
TIERS = Route(
    "{prefix}.alerts.{label.tier}", ["soc.alerts.gold", "soc.alerts.silver"], prefix="soc"
)


def test_the_usual_route_leads_everybody_to_one_topic():
    route = Route("{prefix}.alerts", [], prefix="soc")
    assert route.is_fixed
    assert route.topics == ("soc.alerts",)
    assert {route.topic(one, Feed.MDE_ALERTS) for one in (GOLD, PLAIN)} == {route.default}
    assert route.refusal(PLAIN) is None


def test_a_label_a_region_and_a_feed_lead_to_topics_of_the_list():
    assert TIERS.topic(GOLD, Feed.MDE_ALERTS) == "soc.alerts.gold"
    route = Route("x-{region}_{feed}", ["x-eu_mde-alerts", "x-us_mde-alerts"], prefix="soc")
    assert route.topic(GOLD, Feed.MDE_ALERTS) == "x-eu_mde-alerts"
    assert route.topic(PLAIN, Feed.MDE_ALERTS) == "x-us_mde-alerts"


def test_a_tenant_without_the_label_is_refused_with_the_command_that_helps():
    assert TIERS.refusal(PLAIN) == (
        f"tenant Contoso ({GUID}) has no label tier, which kafka.route goes by: its alerts have no topic, so "
        f"it is not read; give it one with `defender-ingest tenants change {GUID} --label tier=...`"
    )


@pytest.mark.parametrize("value", ["bronze", "gold/../x", "a b", "gold}", "{region}", "ö"])
def test_a_label_that_leads_elsewhere_is_refused_and_never_followed(value):
    lost = Tenant(GUID, "Contoso", "eu", (("tier", value),))
    assert "none of kafka.route_topics" in TIERS.refusal(lost)


@pytest.mark.parametrize(
    ("template", "topics", "complaint"),
    [
        ("{prefix}.{severity}", ["soc.high"], "{severity} is nothing that a route can go by"),
        ("{prefix}.{label.Tier}", [], "is nothing that a route can go by"),
        ("{prefix}.al erts", [], "only A-Z, a-z, 0-9"),
        ("{prefix}.{region", [], "only A-Z, a-z, 0-9"),
        ("{prefix}.{{region}}", ["soc.eu"], "only A-Z, a-z, 0-9"),
        ("{prefix}.{region}", [], "must name every topic"),
        ("{prefix}.alerts", ["soc.other"], "must be empty"),
        ("{prefix}.{region}", ["soc.eu", "soc.ö"], "no name that Kafka takes"),
        ("{prefix}.{region}", ["soc." + "x" * 250], "no name that Kafka takes"),
        ("{region}", [".."], "no name that Kafka takes"),
        ("{prefix}.{region}", ["soc.eu", "soc.checkpoints"], "a topic of the daemon's own"),
        ("{prefix}.tenants", [], "a topic of the daemon's own"),
        ("{prefix}.{region}", ["soc.eu", "sock.us"], "can never lead there"),
        ("{prefix}.{region}", ["soc.eu", "soc.eu"], "twice"),
    ],
)
def test_a_route_that_cannot_be_meant_is_refused(template, topics, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Route(template, topics, prefix="soc")
