"""What a secured Apache Kafka needs: certificates, users, an authorizer; and what its clients are given.

The plain listener stays, for the harness: whoever comes by it is the super user.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ingest.sink.rights import Kind, Right

LOOPBACK = ("127.0.0.1", "localhost")
SCRAM = "SCRAM-SHA-512"
_ITERATIONS = 4096
_TYPES = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Alter": AclOperation.ALTER,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


@dataclass
class Keys:
    """A certificate authority in a folder, and files that it has signed."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.authority.cert_pem.write_to_path(self.ca_file)

    @property
    def ca_file(self) -> Path:
        return self.folder / "kafka-ca.pem"

    def issue(self, name: str, *identities: str) -> tuple[Path, Path]:
        """Write a certificate and its key, and return their files; of the same name, in their place."""
        issued = self.authority.issue_cert(
            *(identities or (f"{name}@test.invalid",)), common_name=name
        )
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        certificate.write_bytes(chain)
        # Kafka takes PKCS#8 alone.
        private = load_pem_private_key(issued.private_key_pem.bytes(), None)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key

    def broker_properties(self) -> dict[str, str]:
        """Return the settings of brokers that speak TLS."""
        certificate, key = self.issue("broker", *LOOPBACK)
        store = self.folder / "broker-store.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "ssl.client.auth": "requested",
            "ssl.principal.mapping.rules": "RULE:^.*?CN=([^,]+).*$/$1/,DEFAULT",
        }


def authorizer() -> dict[str, str]:
    """Return the settings of brokers that allow what an ACL allows, and all to the harness."""
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }


def scram(listener: str, mechanisms: Iterable[str] = (SCRAM,)) -> dict[str, str]:
    """Return the settings of a listener for SCRAM; its users are made by `Admin`."""
    prefix = f"listener.name.{listener.lower()}"
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {
        f"{prefix}.sasl.enabled.mechanisms": ",".join(mechanisms),
        **{f"{prefix}.{one.lower()}.sasl.jaas.config": module for one in mechanisms},
    }


def plain(listener: str, users: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a listener for PLAIN with these users and passwords."""
    prefix = f"listener.name.{listener.lower()}"
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    return {
        f"{prefix}.sasl.enabled.mechanisms": "PLAIN",
        f"{prefix}.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain."
        f"PlainLoginModule required {known};",
    }


class Admin:
    """The super user's hand: users and what they may do."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap})

    def set_password(self, user: str, password: str, mechanism: str = SCRAM) -> None:
        """Make a user of SCRAM, or give it another password."""
        kind = ScramMechanism[mechanism.replace("-", "_")]
        info = ScramCredentialInfo(kind, _ITERATIONS)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        for done in self._client.alter_user_scram_credentials([change]).values():
            done.result(timeout=30)

    def grant(self, principal: str, rights: Iterable[Right]) -> None:
        """Allow these, from anywhere."""
        bindings = [_binding(AclBinding, principal, right) for right in rights]
        for done in self._client.create_acls(bindings).values():
            done.result(timeout=30)

    def revoke(self, principal: str, rights: Iterable[Right]) -> None:
        """Allow these no more; each must have been granted."""
        filters = [_binding(AclBindingFilter, principal, right) for right in rights]
        for done in self._client.delete_acls(filters).values():
            assert done.result(timeout=30), "nothing was revoked"


def _binding(kind: type, principal: str, right: Right) -> Any:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return kind(
        _TYPES[right.kind],
        right.name,
        pattern,
        principal,
        "*",
        _OPERATIONS[right.operation],
        AclPermissionType.ALLOW,
    )
