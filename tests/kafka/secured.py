"""What a secured Apache Kafka needs: certificates, users, an authorizer; and what its clients are given.

The plain listener stays, for the harness: whoever comes by it is the super user.
"""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
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

from ingest.simulator.broker import free_port
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

    @staticmethod
    def ca_file_in(folder: Path) -> Path:
        return folder / "kafka-ca.pem"

    @property
    def ca_file(self) -> Path:
        return self.ca_file_in(self.folder)

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


class Secured:
    """One listener of a secured cluster, and how its clients come by it; a subclass for each kind.

    Args:
        rights: what the principal may do; None leaves the authorizer out.
    """

    name = "SECURE"
    user = "ingest"
    protocol = "SASL_SSL"

    def __init__(self, rights: Sequence[Right] | None = None) -> None:
        self.port = free_port()
        self.rights = rights
        self.section: dict[str, Any] = {}

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def principal(self) -> str:
        return f"User:{self.user}"

    def cluster(self, folder: Path, config: dict[str, Any]) -> dict[str, Any]:
        """Return what `ApacheKafka` is made with, and fill the section of the configuration.

        Args:
            folder: for files.
            config: the configuration that fits the simulator.
        """
        self.keys = Keys(folder)
        properties = self.keys.broker_properties() | self.properties(folder, config)
        if self.rights is not None:
            properties |= authorizer()
        self.section["tls"] = {"enabled": True, "ca_file": str(self.keys.ca_file)}
        self.fill(folder, config)
        return {
            "properties": properties,
            "doors": {self.name: [(self.port, self.port)]},
            "protocols": {self.name: self.protocol},
            "java": self.java(folder, config),
        }

    def properties(self, folder: Path, config: dict[str, Any]) -> dict[str, str]:
        return {}

    def java(self, folder: Path, config: dict[str, Any]) -> list[str]:
        return []

    def fill(self, folder: Path, config: dict[str, Any]) -> None:
        """Add to the section what a client needs beside the authority."""

    def prepare(self, admin: "Admin") -> None:
        """Make the user, and let it do what it may."""
        self.admin = admin
        if self.rights:
            admin.grant(self.principal, self.rights)


class ByScram(Secured):
    """TLS, and a password that the brokers know a hash of."""

    password = "first-password"

    def properties(self, folder: Path, config: dict[str, Any]) -> dict[str, str]:
        return scram(self.name)

    def fill(self, folder: Path, config: dict[str, Any]) -> None:
        self.password_file = folder / "kafka-password"
        self.password_file.write_text(self.password)
        self.section["sasl"] = {
            "mechanism": SCRAM,
            "username": self.user,
            "password_file": str(self.password_file),
        }

    def prepare(self, admin: "Admin") -> None:
        admin.set_password(self.user, self.password)
        super().prepare(admin)


class ByToken(Secured):
    """TLS, and tokens of the simulator's first tenant, as if the cluster were a namespace of Event Hubs."""

    resource = "https://test.servicebus.windows.net"
    reauthenticate_ms = 5000

    def properties(self, folder: Path, config: dict[str, Any]) -> dict[str, str]:
        prefix = f"listener.name.{self.name.lower()}"
        auth = f"{prefix}.oauthbearer"
        package = "org.apache.kafka.common.security.oauthbearer"
        return {
            f"{prefix}.sasl.enabled.mechanisms": "OAUTHBEARER",
            f"{auth}.connections.max.reauth.ms": str(self.reauthenticate_ms),
            f"{auth}.sasl.server.callback.handler.class": f"{package}.OAuthBearerValidatorCallbackHandler",
            f"{auth}.sasl.jaas.config": f"{package}.OAuthBearerLoginModule required;",
            f"{auth}.sasl.oauthbearer.jwks.endpoint.url": self._keys_of(config),
            f"{auth}.sasl.oauthbearer.expected.audience": self.resource,
        }

    def java(self, folder: Path, config: dict[str, Any]) -> list[str]:
        store = folder / "simulator-ca.p12"
        words = ["-importcert", "-noprompt", "-alias", "simulator", "-file", config["ca_file"]]
        words += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", "changeit"]
        subprocess.run(["keytool", *words], check=True, capture_output=True, timeout=60)
        return [
            f"-Djavax.net.ssl.trustStore={store}",
            "-Djavax.net.ssl.trustStorePassword=changeit",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys_of(config)}",
        ]

    def fill(self, folder: Path, config: dict[str, Any]) -> None:
        entra = config["entra"]
        self.user = entra["client_id"]
        self.section["sasl"] = {
            "mechanism": "OAUTHBEARER",
            "token_url": f"{self._tenant_of(config)}/oauth2/v2.0/token",
            "token_ca_file": config["ca_file"],
            "client_id": entra["client_id"],
            "client_secret_file": entra["client_secret_file"],
            "scope": f"{self.resource}/.default",
        }

    def _tenant_of(self, config: dict[str, Any]) -> str:
        return f"{config['entra']['login_url']}/{config['tenants'][0]['id']}"

    def _keys_of(self, config: dict[str, Any]) -> str:
        return f"{self._tenant_of(config)}/discovery/v2.0/keys"


class ByCertificate(Secured):
    """Mutual TLS alone."""

    protocol = "SSL"

    def properties(self, folder: Path, config: dict[str, Any]) -> dict[str, str]:
        return {f"listener.name.{self.name.lower()}.ssl.client.auth": "required"}

    def fill(self, folder: Path, config: dict[str, Any]) -> None:
        certificate, key = self.keys.issue(self.user)
        self.section["tls"] |= {"certificate_file": str(certificate), "key_file": str(key)}


class Admin:
    """The super user's hand: users and what they may do."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

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
