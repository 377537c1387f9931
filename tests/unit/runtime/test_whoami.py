import getpass
import os
import socket

import pytest

from ingest.runtime.whoami import whoami


def test_it_is_the_user_at_the_host(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert whoami() == f"ann@{socket.gethostname()}"


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(monkeypatch, error):
    def nameless():
        raise error("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert whoami() == f"{os.getuid()}@{socket.gethostname()}"
