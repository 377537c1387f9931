"""`invite`, `consent-url` and `tenants approve` on a real broker: what they print, write and refuse."""

import json
import os
import re
import time
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ingest.cli import main
from ingest.model.invitation import open_invitation

CLIENT = "00000000-0000-0000-0000-00000000000c"
ONE, TWO = (str(uuid.UUID(int=n)) for n in (1, 2))
KEY = "k" * 32
URL = "https://onboarding.example.com"


class Shell:
    """Runs commands on one installation."""

    def __init__(self, bootstrap, folder, capsys) -> None:
        self.capsys = capsys
        self.config = folder / "daemon.yaml"
        key = folder / "key"
        key.write_text(KEY)
        self.content = {
            "entra": {"client_id": CLIENT, "client_secret": "hush~Q8secret~value"},
            "kafka": {
                "bootstrap_servers": bootstrap.split(","),
                "prefix": f"t{uuid.uuid4().hex[:8]}",
                "shards": 2,
                "alert_partitions": 1,
                "replication_factor": 1,
            },
            "consent": {"url": URL, "partner": "Example Security", "key_file": str(key)},
        }
        self.write()

    def write(self):
        self.config.write_text(yaml.safe_dump(self.content))

    def run(self, *words, code=0):
        found = main([*words, "--config", str(self.config)])
        out, err = self.capsys.readouterr()
        assert found == code, out + err
        assert KEY not in out + err
        events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        return out.splitlines(), events, err

    def listed(self):
        out, _, _ = self.run("tenants", "list", "--json")
        return {row["tenant"]: row for row in map(json.loads, out)}


@pytest.fixture
def shell(embedded_kafka, tmp_path, capsys):
    return Shell(embedded_kafka.bootstrap, tmp_path, capsys)


def test_an_invitation_is_a_link_that_says_whose_it_is_and_writes_nothing(shell):
    before = time.time()
    words = ["invite", "Contoso", "--tenant", ONE.upper(), "--region", "eu", "--label", "tier=gold"]
    (told, link), (event,), _ = shell.run(*words)
    assert re.fullmatch(
        rf"an invitation for Contoso, for directory {ONE} alone, once, until [0-9T:-]+Z:", told
    )
    assert link.startswith(f"{URL}/invitation/")
    found = open_invitation(link.rpartition("/")[2], [KEY.encode()])
    assert found is not None
    assert (found.name, found.region, found.tenant, found.labels) == (
        *("Contoso", "eu", ONE),
        {"tier": "gold"},
    )
    assert abs(found.expires - before - 168 * 3600) < 60
    assert (event["event"], event["invitation"], event["tenant"]) == (
        *("invitation_made", found.id),
        ONE,
    )
    assert "link" not in event
    assert link.rpartition("/")[2] not in json.dumps(event)
    assert shell.listed() == {}


def test_no_two_invitations_have_one_id(shell):
    found = {json.loads(shell.run("invite", "Contoso", "--json")[0][0])["id"] for _ in range(3)}
    assert len(found) == 3


def test_who_is_registered_already_is_not_invited(shell):
    shell.run("tenants", "add", ONE, "--name", "Contoso")
    _, _, err = shell.run("invite", "Other", "--tenant", ONE, code=os.EX_DATAERR)
    assert f"tenant {ONE} is registered already, as Contoso (active)" in err
    _, _, err = shell.run("invite", "contoso", code=os.EX_DATAERR)
    assert f"contoso is the name of tenant {ONE} already" in err
    shell.run("tenants", "remove", ONE)
    _, _, err = shell.run("invite", "Other", "--tenant", ONE, code=os.EX_DATAERR)
    assert "add it anew with `tenants add`" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["invite", "  "], "NAME must be 1 to 200 letters"),
        (["invite", "a", "--region", "mars"], "--region mars: is not a key of regions"),
        (["invite", "a", "--label", "tier"], "--label tier: must be NAME=VALUE"),
        (["invite", "a", "--tenant", "not a name"], "is neither a GUID nor a domain name"),
    ],
)
def test_words_that_fit_nothing_are_a_usage_error(shell, words, complaint):
    _, _, err = shell.run(*words, code=os.EX_USAGE)
    assert complaint in err


def test_without_a_page_nobody_is_invited(shell):
    del shell.content["consent"]
    shell.write()
    _, _, err = shell.run("invite", "Contoso", code=os.EX_CONFIG)
    assert "consent.url: is needed to invite" in err


def test_microsofts_own_links_are_shown_in_both_forms(shell):
    out, _, _ = shell.run("consent-url", "--json")
    links = json.loads(out[0])
    v2 = urlsplit(links["admin_consent"])
    assert (v2.netloc, v2.path) == ("login.microsoftonline.com", "/organizations/v2.0/adminconsent")
    assert parse_qs(v2.query) == {
        "client_id": [CLIENT],
        "scope": ["https://api.securitycenter.microsoft.com/.default"],
        "redirect_uri": [f"{URL}/consent"],
    }
    older = urlsplit(links["authorize"])
    assert links["authorize"] == (
        "https://login.microsoftonline.com/common/oauth2/authorize?prompt=consent"
        f"&client_id={CLIENT}&response_type=code&sso_reload=true"
    )
    assert older.fragment == ""
    out, _, _ = shell.run("consent-url", "--tenant", ONE, "--region", "gcc")
    assert f"/{ONE}/v2.0/adminconsent?" in out[1]
    assert (
        "scope=https%3A%2F%2Fsecuritycenter.onmicrosoft.com%2Fwindowsatpservice%2F.default"
        in out[1]
    )
    assert f"/{ONE}/oauth2/authorize?" in out[3]


def test_a_cloud_of_its_own_has_its_own_login_host(shell):
    shell.content["entra"]["login_url"] = "https://login.microsoftonline.us"
    shell.write()
    out, _, _ = shell.run("consent-url")
    assert out[1].startswith("https://login.microsoftonline.us/organizations/v2.0/adminconsent?")
    assert out[3].startswith("https://login.microsoftonline.us/common/oauth2/authorize?")
    # Its regions share a host and a resource, so none has to be named.
    assert "scope=https%3A%2F%2Fsecuritycenter.onmicrosoft.us%2F" in out[1]
    _, _, err = shell.run("consent-url", "--region", "commercial", code=os.EX_USAGE)
    assert "--region commercial: is of another cloud" in err
