"""What alerts look like: fields and evidence like the recorded ones, in legal but awkward JSON.

Everything here is a pure function of an alert's seed and of the steps that it went through, so an
alert's bytes are the same at every reading, and a touch changes one value and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha1, sha256
from typing import Any

from ingest.simulator.times import TICKS, write_instant

_TITLES = (
    ("Suspicious PowerShell command line", "Execution", ("T1059.001", "T1027")),
    ("Low-reputation arbitrary code executed by signed executable", "Execution", ("T1064",)),
    ("'Mimikatz' credential theft tool", "CredentialAccess", ("T1003", "T1550.002")),
    ("Possible lateral movement — \u201cpass the hash\u201d", "LateralMovement", ("T1550",)),
    ("Anomalous behavior by a common executable", "DefenseEvasion", ("T1036", "T1055")),
    ("Connexion inhabituelle détectée", "InitialAccess", ("T1078",)),
    ("不審なスクリプトが検出されました", "Malware", ()),
    ("Ransomware activity \U0001f512 in C:\\Users\\Public", "Ransomware", ("T1486", "T1490")),
)
_DESCRIPTION = (
    (
        "Malware and unwanted software are undesirable applications that perform annoying, "
        "disruptive, or harmful actions on affected machines. "
    ),
    "Some of these undesirable applications can replicate and spread from one machine to another. ",
    'The process "rundll32.exe" loaded a library from a user\u2019s folder.\n\n',
    (
        "Others are able to receive commands from remote attackers <script>/* no script */</script> "
        "and perform activities associated with cyber attacks.\r\n"
    ),
    "Binaries signed by Microsoft can be used to run low-reputation arbitrary code.\t",
)
_SOURCES = ("WindowsDefenderAtp", "WindowsDefenderAv", "CustomerTI", "AutomatedInvestigation")
_SEVERITIES = ("Informational", "Low", "Medium", "High", "UnSpecified")
_STATES = ("Queued", "Running", "UnsupportedAlertType", "Benign", "PendingApproval", "Unknown")
_CLASSES = (
    ("TruePositive", "Malware"),
    ("FalsePositive", "Clean"),
    ("Informational, expected activity", "SecurityTesting"),
)
_PEOPLE = ("secop1@contoso.com", "jörg@fabrikam.de", "night.shift@contoso.com")
_COMMENTS = (
    "looks like the backup agent",
    "escalated \u2192 tier 2",
    'user says: "I clicked it"',
    "geprüft, ungefährlich",
)
_EVIDENCE_FIELDS = (
    "entityType",
    "evidenceCreationTime",
    "sha1",
    "sha256",
    "fileName",
    "filePath",
    "processId",
    "processCommandLine",
    "processCreationTime",
    "parentProcessId",
    "parentProcessCreationTime",
    "parentProcessFileName",
    "parentProcessFilePath",
    "ipAddress",
    "url",
    "registryKey",
    "registryHive",
    "registryValueType",
    "registryValue",
    "accountName",
    "domainName",
    "userSid",
    "aadUserId",
    "userPrincipalName",
    "detectionStatus",
)

STEPS = ("status", "comment", "evidence", "owner", "verdict", "severity")
"""What may change in an alert's life."""


@dataclass(slots=True)
class Story:
    """Who an alert is and what happened to it so far."""

    tenant: str
    seed: int
    id: str
    created: int
    steps: list[tuple[str, int]] = field(default_factory=list)
    padding: int = 0

    def bits(self) -> bytes:
        """Return 64 bytes of chance that belong to this alert."""
        return blake2b(f"{self.tenant}/{self.seed}".encode()).digest()


def compose(story: Story, updated: str, *, expand: bool, evidence_order: int = 0) -> bytes:
    """Return the alert's JSON: `evidence_order` picks one of its evidence's orders."""
    bits = story.bits()
    alert = _fields(story, bits, updated)
    evidence = alert["evidence"]
    if not expand:
        alert["evidence"] = []
    elif evidence_order and len(evidence) > 1:
        turn = evidence_order % len(evidence)
        alert["evidence"] = evidence[turn:] + evidence[:turn]
    return _awkward(alert, bits)


def _fields(story: Story, bits: bytes, updated: str) -> dict[str, Any]:
    title, category, techniques = _TITLES[bits[0] % len(_TITLES)]
    first = write_instant(story.created - (bits[1] + 20) * TICKS + bits[2] * 3571, 7)
    last = write_instant(story.created - bits[1] % 20 * TICKS + bits[3] * 7919, bits[4] % 8)
    machine = sha1(bits[:8] + story.tenant.encode(), usedforsecurity=False).hexdigest()
    paragraphs = 1 + bits[5] % 6
    alert: dict[str, Any] = {
        "id": story.id,
        "incidentId": 1000 + bits[6] * 7,
        "investigationId": bits[7] * 31 if bits[7] % 3 else None,
        "assignedTo": None,
        "severity": _SEVERITIES[bits[8] % len(_SEVERITIES)],
        "status": "New",
        "classification": None,
        "determination": None,
        "investigationState": _STATES[bits[9] % len(_STATES)],
        "detectionSource": _SOURCES[bits[10] % len(_SOURCES)],
        "detectorId": f"{bits[11:15].hex()}-{bits[15:17].hex()}-4a8a-aad0-{bits[17:23].hex()}",
        "category": category,
        "threatFamilyName": "Meterpreter" if bits[23] % 4 == 0 else None,
        "title": title,
        "description": "".join(
            _DESCRIPTION[(bits[24] + turn) % len(_DESCRIPTION)] for turn in range(paragraphs)
        )
        + "#" * story.padding,
        "alertCreationTime": write_instant(story.created, 7),
        "firstEventTime": first,
        "lastEventTime": last,
        "lastUpdateTime": updated,
        "resolvedTime": None,
        "machineId": machine,
        "computerDnsName": f"host-{bits[25]}.middleeast.corp.contoso.com",
        "rbacGroupName": ("MiddleEast", "A", None, "EU / Нижний Новгород")[bits[26] % 4],
        "aadTenantId": story.tenant,
        "threatName": None,
        "mitreTechniques": list(techniques),
        "relatedUser": {"userName": f"temp{bits[27]}", "domainName": "DOMAIN"}
        if bits[28] % 3
        else None,
        "comments": [],
        "evidence": [_evidence(story, bits, turn) for turn in range(bits[29] % 9)],
    }
    if bits[30] % 4 == 0:
        alert |= {"alertUser": None, "alertFiles": [], "alertDomains": [], "alertIps": []}
    if bits[30] % 5 == 0:
        alert["vendorInformation"] = {
            "score": "@number@",
            "tags": ["", " ", "\u2028", "null"],
            "": {},
        }
    for turn, (step, at) in enumerate(story.steps):
        _step(alert, story, bits, step, at, turn)
    return alert


def _evidence(story: Story, bits: bytes, turn: int) -> dict[str, Any]:
    item = dict.fromkeys(_EVIDENCE_FIELDS)
    chance = bits[32 + turn % 16]
    digest = sha256(bits + bytes((turn % 256,)))
    when = write_instant(story.created - chance * 49_999, (7, 2, 3, 6)[chance % 4])
    kind = ("Process", "User", "File", "Ip", "Url", "Registry")[chance % 6]
    kinds: dict[str, dict[str, Any]] = {
        "Process": {
            "sha1": digest.hexdigest()[:40],
            "sha256": digest.hexdigest(),
            "fileName": "rundll32.exe",
            "filePath": "C:\\Windows\\SysWOW64",
            "processId": 3000 + chance,
            "processCommandLine": 'rundll32.exe  c:\\temp\\suspicious.dll,"Repeat/After\tMe"',
            "processCreationTime": when,
            "parentProcessId": 8000 + turn,
            "parentProcessCreationTime": when,
            "parentProcessFileName": "explorer.exe",
            "parentProcessFilePath": "C:\\Windows",
            "detectionStatus": "Detected",
        },
        "User": {
            "accountName": f"name{chance}",
            "domainName": "DOMAIN",
            "userSid": f"S-1-5-21-11111607-1111760036-109187956-{75000 + chance}",
            "aadUserId": f"11118379-2a59-1111-ac3c-a51eb4a3c6{chance:02x}",
            "userPrincipalName": f"temp{chance}@contoso.com",
        },
        "File": {
            "sha1": digest.hexdigest()[:40],
            "sha256": digest.hexdigest(),
            "fileName": "überprüfung.dll",
            "filePath": "c:\\temp",
            "detectionStatus": "Prevented",
        },
        "Ip": {"ipAddress": f"10.{chance}.{turn % 256}.7"},
        "Url": {"url": f"https://evil.example/{chance}/?q=a%20b&c=<d>"},
        "Registry": {
            "registryKey": "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run",
            "registryHive": "HKEY_LOCAL_MACHINE",
            "registryValueType": "String",
            "registryValue": "\u0000\u001f",
        },
    }
    item |= kinds[kind]
    item["entityType"] = kind
    item["evidenceCreationTime"] = when
    return item


def _step(alert: dict[str, Any], story: Story, bits: bytes, step: str, at: int, turn: int) -> None:
    """Let one thing that happened at `at` show in the alert."""
    when = write_instant(at, 7)
    chance = bits[(48 + turn) % 64] + turn
    match step:
        case "status":
            follower = {"New": "InProgress", "InProgress": "Resolved", "Resolved": "New"}
            alert["status"] = follower[alert["status"]]
            alert["resolvedTime"] = when if alert["status"] == "Resolved" else None
        case "comment":
            text = _COMMENTS[chance % len(_COMMENTS)]
            person = _PEOPLE[chance % len(_PEOPLE)]
            alert["comments"].append(
                {"comment": f"{text} ({turn})", "createdBy": person, "createdTime": when}
            )
        case "evidence":
            alert["evidence"].append(_evidence(story, bits, 4 + turn))
            alert["lastEventTime"] = when
        case "owner":
            alert["assignedTo"] = f"{turn}.{_PEOPLE[chance % len(_PEOPLE)]}"
        case "verdict":
            alert["classification"], alert["determination"] = _CLASSES[chance % len(_CLASSES)]
            alert["investigationState"] = f"{_STATES[chance % len(_STATES)]}"
            alert["threatName"] = f"Threat.{turn}"
        case "severity":
            at_now = _SEVERITIES.index(alert["severity"])
            alert["severity"] = _SEVERITIES[(at_now + 1) % len(_SEVERITIES)]
        case _:
            raise ValueError(f"no such step: {step}")


def _awkward(alert: dict[str, Any], bits: bytes) -> bytes:
    """Write JSON in one of the ways that are legal: a decoder followed by an encoder would show."""
    match bits[31] % 5:
        case 1:
            alert = dict(reversed(alert.items()))
        case 2:
            alert = dict(sorted(alert.items()))
        case _:
            pass
    match bits[40] % 10:
        case 0 | 1 | 2:
            text = _dump(alert, (",", ":"))
        case 3 | 4:
            text = _dump(alert, (", ", ": "), ascii_only=False)
        case 5:
            text = _dump(alert, (" ,", "\t:  "))
        case 6:
            text = _dump(alert, (",", ":"), ascii_only=False)
        case 7:
            # A slash occurs in strings only, and so does D where escapes are in lower case.
            text = _dump(alert, (",", ":")).replace("/", "\\/").replace("D", "\\u0044")
        case 8:
            text = _dump(alert, (",", ":"), ascii_only=False)
            text = text.replace('"id"', '"\\u0069d"', 1)
            text = text.replace('"lastUpdateTime"', '"last\\u0055pdateTime"', 1)
        case _:
            text = json.dumps(alert, indent=bits[41] % 4)
    if "@number@" in text:
        text = text.replace('"@number@"', "-123456789012345678901234567890.250E-3", 1)
    return text.encode()


def _dump(alert: Mapping[str, Any], separators: tuple[str, str], *, ascii_only: bool = True) -> str:
    return json.dumps(alert, separators=separators, ensure_ascii=ascii_only)


def malformed(form: str, story: Story, updated: str) -> bytes:
    """Return a record that is legal JSON and no alert; `form` is one of `MALFORMED_FORMS`."""
    fields = _fields(story, story.bits(), updated)
    if form == "string":
        return json.dumps(f"not an alert: {story.id}").encode()
    if form == "list":
        return json.dumps([fields], indent=1).encode()
    name, value = {
        "no_id": ("id", _ABSENT),
        "no_time": ("lastUpdateTime", _ABSENT),
        "null_time": ("lastUpdateTime", None),
        "unreadable_time": ("lastUpdateTime", f"yesterday, {updated}"),
        "newline_id": ("id", f"{story.id}\n{story.seed}\r\n"),
        "giant_id": ("id", story.id + "7" * (1024 * 1024)),
        "number_id": ("id", story.seed),
        "empty_id": ("id", ""),
    }[form]
    if value is _ABSENT:
        del fields[name]
    else:
        fields[name] = value
    return _dump(fields, (", ", ": ")).encode()


_ABSENT = object()

MALFORMED_FORMS: Sequence[str] = (
    "no_id",
    "no_time",
    "string",
    "newline_id",
    "giant_id",
    "list",
    "null_time",
    "number_id",
    "unreadable_time",
    "empty_id",
)
"""The ways in which a record can be no alert."""
