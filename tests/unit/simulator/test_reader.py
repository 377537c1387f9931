"""The audit's reader connects as a configuration says, with code of its own."""

import pytest
import trustme

from ingest.simulator.reader import security_of


def test_without_tls_and_sasl_it_speaks_plain_text():
    assert security_of({}) == {"security_protocol": "PLAINTEXT"}
    assert security_of({"tls": {"enabled": False}, "sasl": {}}) == security_of({})


def test_it_logs_in_with_the_password_of_a_file(tmp_path):
    ca, file = tmp_path / "ca.pem", tmp_path / "password"
    trustme.CA().cert_pem.write_to_path(ca)
    file.write_text("hush-hush\n")
    sasl = {"mechanism": "PLAIN", "username": "me", "password_file": str(file)}
    options = security_of({"tls": {"enabled": True, "ca_file": str(ca)}, "sasl": sasl})
    context = options.pop("ssl_context")
    assert context.check_hostname
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hush-hush",
    }


def test_it_says_that_it_takes_no_tokens():
    with pytest.raises(ValueError, match="name another way with --reader"):
        security_of({"sasl": {"mechanism": "OAUTHBEARER"}})
