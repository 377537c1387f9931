"""The script that registers the application, against an `az` that notes what it is told."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "register-app.sh"
DEFENDER = "fc780465-2017-40d4-a0c5-307022471b92"
ROLE, APP = (f"{n}1111111-1111-1111-1111-111111111111" for n in (1, 2))
AZ = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    "ad sp show --id fc780465"*) echo "$ROLE" ;;
    "ad sp show"*) [ -e "$MADE" ] ;;
    "ad app list"*) [ ! -e "$MADE" ] || cat "$MADE" ;;
    "ad app create"*) echo "$APP" | tee "$MADE" ;;
    "ad app credential reset"*) [ -z "$BROKEN" ] && echo "hush~Q8secret" ;;
esac
"""


@pytest.fixture
def register(tmp_path):
    az = tmp_path / "az"
    az.write_text(AZ)
    az.chmod(0o755)
    calls = tmp_path / "calls"

    def run(role=ROLE, broken=""):
        calls.write_text("")
        done = subprocess.run(
            ["sh", str(SCRIPT), "https://onboarding.example.com", "Alerts"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "CALLS": str(calls),
                "MADE": str(tmp_path / "made"),
                "ROLE": role,
                "APP": APP,
                "BROKEN": broken,
            },
        )
        return done, calls.read_text().splitlines()

    return run


def test_it_asks_for_one_permission_and_keeps_the_secret_to_its_owner(register, tmp_path):
    done, calls = register()
    assert done.returncode == 0, done.stderr
    (update,) = [one for one in calls if one.startswith("ad app update")]
    assert "--web-redirect-uris https://onboarding.example.com/consent " in update
    accesses = json.loads(update.partition("--required-resource-accesses ")[2])
    assert accesses == [
        {"resourceAppId": DEFENDER, "resourceAccess": [{"id": ROLE, "type": "Role"}]}
    ]
    (create,) = [one for one in calls if one.startswith("ad app create")]
    assert "--sign-in-audience AzureADMultipleOrgs" in create
    secret = tmp_path / "client-secret"
    assert secret.read_text() == "hush~Q8secret\n"
    assert secret.stat().st_mode & 0o077 == 0
    assert "hush" not in done.stdout + done.stderr
    assert f"entra.client_id: {APP}" in done.stdout


def test_run_again_it_makes_nothing_a_second_time(register):
    register()
    done, calls = register()
    assert done.returncode == 0, done.stderr
    assert not [one for one in calls if "create" in one or "credential" in one]


def test_a_secret_that_could_not_be_made_is_made_the_next_time(register, tmp_path):
    done, _ = register(broken="yes")
    assert done.returncode != 0
    assert not (tmp_path / "client-secret").exists()
    done, _ = register()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "client-secret").exists()


def test_a_directory_without_defender_is_told_of_and_nothing_is_made(register):
    done, calls = register(role="")
    assert done.returncode == 1
    assert "WindowsDefenderATP has no role Alert.Read.All" in done.stderr
    assert len(calls) == 1
