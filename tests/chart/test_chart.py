"""The chart as Helm itself renders it, held against Kubernetes' own schemas."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml

from ingest import __version__
from ingest.cli import _parser, main
from tests.chart.helm import CHART, ROOT, HelmRefused, one_of, program, render, run, values
from tests.container.clean_root import UNREADY_SECONDS
from tests.harness.documented import commands

PROMTOOL = shutil.which("promtool")
SECRETS = "/run/secrets/defender-ingest"

SCENARIOS = sorted(one.name.removesuffix("-values.yaml") for one in (CHART / "ci").iterdir())
VERSIONS = ("1.27.0", "1.37.0")
"""The oldest that `kubeVersion` lets in, and the newest whose schemas there are."""

OF_OTHERS = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds of Prometheus' operator: Kubernetes has no schemas of them."""

TENANT = {"id": "aaaaaaaa-0000-0000-0000-000000000001", "name": "contoso"}

RULES = """\
groups:
  - name: defender-ingest
    rules:
      - alert: Down
        expr: absent(defender_ingest_build_info)
        for: 5m
        annotations:
          summary: "{{ $labels.job }} is down"
          runbook_url: docs/operations.md#down
"""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the chart with small signals of its own."""
    copy = tmp_path_factory.mktemp("chart") / "defender-ingest"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("files"))
    (copy / "files").mkdir()
    (copy / "files" / "rules.yaml").write_text(RULES)
    (copy / "files" / "dashboard.json").write_text('{"title": "{{ not a template }}"}\n')
    return copy


def daemon(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return one_of(objects, "Deployment")["spec"]["template"]["spec"]


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = daemon(objects)["containers"]
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lint_finds_nothing(scenario):
    assert "0 chart(s) failed" in run("lint", "--strict", *values(scenario))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_rendered_fits_the_schemas_of_kubernetes(scenario, version, chart):
    objects = render(scenario, chart=chart, flags=("--kube-version", version))
    for one in objects:
        if one["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(one, version, strict=True)
    assert {"Deployment", "Service", "ConfigMap"} <= {one["kind"] for one in objects}


def test_the_schemas_would_have_found_a_mistake():
    deployment = one_of(render("minimal"), "Deployment")
    deployment["spec"]["template"]["spec"]["hostNetwrok"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostNetwrok"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_an_older_kubernetes_is_refused():
    with pytest.raises(HelmRefused, match="requires kubeVersion"):
        render("minimal", flags=("--kube-version", "1.26.0"))


def test_the_least_that_is_given_renders_to_what_was_reviewed():
    snapshot = Path(__file__).with_name("minimal.yaml")
    text = run("template", *values("minimal"))
    assert text == snapshot.read_text(), f"if it is meant: helm template … > {snapshot}"


def test_the_chart_is_of_the_version_that_it_installs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Return what the files of Secrets hold, by their names in them."""
    authority = trustme.CA()
    # Entra ID takes no other.
    issued = authority.issue_cert("defender-ingest", key_type=trustme.KeyType.RSA)
    return {
        "ca.crt": authority.cert_pem.bytes().decode(),
        "tls.crt": issued.cert_chain_pems[0].bytes().decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_daemon_accepts_the_configuration_that_is_rendered(scenario, secrets, tmp_path, capsys):
    objects = render(scenario)
    text = one_of(objects, "ConfigMap", suffix=one_of(objects, "Deployment")["metadata"]["name"])
    config = tmp_path / "daemon.yaml"
    config.write_text(text["data"]["daemon.yaml"].replace(SECRETS, str(tmp_path)))
    mounted = {one["mountPath"] for one in container(objects)["volumeMounts"]}
    for folder, name in re.findall(rf"{SECRETS}/(\S+)/(\S+)", text["data"]["daemon.yaml"]):
        assert f"{SECRETS}/{folder}" in mounted
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(secrets.get(name, "a" * 64))
    assert main(["check-config", "--config", str(config)]) == 0, capsys.readouterr().err


def test_probes_and_metrics_are_where_the_daemon_listens():
    objects = render("minimal", "service.port=9999")
    config = yaml.safe_load(one_of(objects, "ConfigMap")["data"]["daemon.yaml"])
    assert config["listen"] == {"host": "0.0.0.0", "port": 9999}  # noqa: S104 - in a pod
    assert container(objects)["ports"] == [{"name": "http", "containerPort": 9999}]
    probes = [container(objects)[f"{name}Probe"] for name in ("startup", "liveness", "readiness")]
    assert [one["httpGet"] for one in probes] == [
        {"path": path, "port": "http"} for path in ("/livez", "/livez", "/readyz")
    ]


def test_a_replica_that_takes_shards_over_stays_ready_for_the_cluster():
    probe = container(render("minimal"))["readinessProbe"]
    assert (probe["failureThreshold"] - 1) * probe["periodSeconds"] >= UNREADY_SECONDS


def test_what_runs_is_what_the_image_runs():
    image = re.search(r"^CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert image
    assert container(render("minimal"))["args"] == json.loads(image[1])
    assert "command" not in container(render("minimal"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pods_keep_to_the_restricted_standard(scenario):
    for one in render(scenario):
        if one["kind"] in ("Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] == 10001
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            (only,) = pod["containers"]
            assert only["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not [mount for mount in only["volumeMounts"] if "subPath" in mount]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_secret_is_made_of_values(scenario):
    assert not [one for one in render(scenario) if one["kind"] == "Secret"]


def test_a_change_of_the_configuration_rolls_the_pods():
    def checksum(*sets: str) -> str:
        template = one_of(render("minimal", *sets), "Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum() == checksum('podAnnotations={"a": "b"}')
    assert checksum() != checksum("config.poll.interval_seconds=30")


def test_pods_spread_over_nodes_by_their_own_labels():
    objects = render("minimal")
    labels = one_of(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for one in daemon(objects)["topologySpreadConstraints"]:
        assert one["labelSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("value", "kind", "name"),
    [
        ("podDisruptionBudget.enabled=true", "PodDisruptionBudget", ""),
        ('monitor.kind="PodMonitor"', "PodMonitor", ""),
        ('monitor.kind="ServiceMonitor"', "ServiceMonitor", ""),
        ("prometheusRule.enabled=true", "PrometheusRule", ""),
        ("dashboard.enabled=true", "ConfigMap", "-dashboard"),
        ("networkPolicy.enabled=true", "NetworkPolicy", ""),
        (f"tenants={json.dumps({'enabled': True, 'list': [TENANT]})}", "Job", "-tenants"),
    ],
)
def test_what_is_switched_on_appears_and_else_is_not_there(value, kind, name, chart):
    def there(*sets: str) -> bool:
        return (kind, f"rel-defender-ingest{name}") in {
            (one["kind"], one["metadata"]["name"]) for one in render("minimal", *sets, chart=chart)
        }

    assert (there(), there(value)) == (False, True)


def test_a_service_account_of_ones_own_is_used():
    objects = render("mutual-tls")
    assert "ServiceAccount" not in {one["kind"] for one in objects}
    assert daemon(objects)["serviceAccountName"] == "defender"


def test_zero_is_a_value():
    budget = 'podDisruptionBudget={"enabled": true, "maxUnavailable": %s, "minAvailable": %s}'
    objects = render("minimal", "replicas=0", "minReadySeconds=0", budget % (0, "null"))
    assert one_of(objects, "Deployment")["spec"]["replicas"] == 0
    assert one_of(objects, "Deployment")["spec"]["minReadySeconds"] == 0
    assert one_of(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 0
    objects = render("minimal", budget % ("null", 0))
    assert one_of(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 0
    job = one_of(render("mutual-tls", "tenants.allowRemovals=0"), "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][-2:] == [
        "--allow-removals",
        "0",
    ]
    job = one_of(render("mutual-tls", "tenants.allowRemovals=null"), "Job")
    assert "--allow-removals" not in job["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.mark.parametrize(
    "given",
    [
        f'fullnameOverride="{"long-name-" * 9}"',
        f'nameOverride="{"long-name-" * 9}"',
        f'image.tag="{"1" * 100}"',
    ],
)
def test_long_names_are_cut_to_what_kubernetes_takes(given):
    label = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
    name = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
    for scenario in ("mutual-tls", "consent"):
        for one in render(scenario, 'fullnameOverride=""', given):
            assert name.fullmatch(one["metadata"]["name"])
            for value in one["metadata"]["labels"].values():
                assert label.fullmatch(value), value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("replicas=-1", "at '/replicas': minimum: got -1, want 0"),
        ("replica=3", "additional properties 'replica' not allowed"),
        ('image.digest="abc"', "at '/image/digest': 'abc' does not match pattern"),
        ('config.entra.client_id="me"', "at '/config/entra/client_id': 'me' does not match"),
        ("config.kafka.bootstrap_servers=[]", "at '/config/kafka/bootstrap_servers': minItems"),
        ('config.kafka.bootstrap_servers=["kafka"]', "'kafka' does not match pattern"),
        ("config.entra=null", "at '/config/entra': got null, want object"),
        (
            'config.entra.client_secret="s3cret"',
            "no secret belongs in values; name a Secret in entra.",
        ),
        ('config.kafka.sasl={"password": "s3cret"}', "name a Secret in kafka.existingSecret"),
        ('config.listen={"port": 1}', "config.listen.port is set by the chart; remove it, and use"),
        (
            "config.shutdown.grace_seconds=60",
            "(40) must be at least 5 more than config.shutdown.",
        ),
        (
            "terminationGracePeriodSeconds=29",
            "more than config.shutdown.grace_seconds (25)",
        ),
        (
            'entra.existingSecret=""',
            "entra.existingSecret is needed for entra.credential: secret; make it",
        ),
        ('entra.credential="password"', "at '/entra/credential': value must be one of"),
        ('kafka.keys.ca="ca.crt"', "kafka.existingSecret is needed for kafka.keys.ca"),
        ('monitor.kind="Both"', "at '/monitor/kind': value must be one of"),
        (
            'podDisruptionBudget={"enabled": true, "minAvailable": 1}',
            "exactly one of podDisruptionBudget.",
        ),
        ('podDisruptionBudget.maxUnavailable="all"', "at '/podDisruptionBudget/maxUnavailable'"),
        ("tenants.enabled=true", "tenants.list is empty"),
        (
            'tenants.list=[{"id": "contoso.com", "name": "x"}]',
            "at '/tenants/list/0/id': 'contoso.com' does",
        ),
        ("consent.enabled=true", "consent.existingSecret is needed with consent.enabled"),
        (
            'consent={"enabled": true, "existingSecret": "s"}',
            "config.consent.url and config.consent.",
        ),
        (
            'admin={"enabled": false, "existingSecret": "s"}',
            "admin.existingSecret needs admin.enabled",
        ),
        ("consent.ingress.enabled=true", "consent.ingress.enabled needs consent.enabled"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_shows_no_secret(given, words):
    with pytest.raises(HelmRefused) as refused:
        render("minimal", given)
    assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_no_two_listeners_share_a_port():
    with pytest.raises(HelmRefused, match="must differ"):
        render("consent", "consent.port=9464")
    with pytest.raises(HelmRefused, match="must differ"):
        render("minimal", "admin.port=9464")


def test_the_status_page_is_for_this_machine_alone_until_a_secret_lets_people_in():
    objects = render("minimal")
    config = yaml.safe_load(one_of(objects, "ConfigMap")["data"]["daemon.yaml"])
    assert config["admin"] == {"host": "127.0.0.1", "port": 9465}
    assert [one["name"] for one in one_of(objects, "Service")["spec"]["ports"]] == ["http"]
    assert [one["name"] for one in container(objects)["ports"]] == ["http"]
    objects = render("secured")
    text = one_of(objects, "ConfigMap", suffix="-ingest")["data"]["daemon.yaml"]
    admin = yaml.safe_load(text)["admin"]
    assert (admin["host"], admin["token_file"]) == ("0.0.0.0", f"{SECRETS}/admin/token")  # noqa: S104
    assert [one["name"] for one in one_of(objects, "Service")["spec"]["ports"]] == ["http", "admin"]
    objects = render("workload-identity")
    assert "admin" not in yaml.safe_load(one_of(objects, "ConfigMap")["data"]["daemon.yaml"])


def test_each_listener_has_a_rule_of_its_own_and_brokers_their_ports():
    policy = one_of(render("secured"), "NetworkPolicy")["spec"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]]
    assert ports == [[9464], [9465]]
    assert policy["ingress"][0]["from"] != policy["ingress"][1]["from"]
    dns, kafka, https, extra = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [port["port"] for port in kafka["ports"]] == [9093, 9094, 9095]
    assert kafka["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert [port["port"] for port in https["ports"]] == [443]
    assert [port["port"] for port in extra["ports"]] == [4317]
    policy = one_of(render("consent"), "NetworkPolicy")["spec"]
    metrics, consent = policy["ingress"]
    assert (metrics["ports"][0]["port"], consent["ports"][0]["port"]) == (9464, 9466)
    assert "from" not in metrics
    assert "from" in consent


def test_the_way_in_from_the_internet_leads_to_the_consent_page_alone():
    objects = render("consent")
    (rule,) = one_of(objects, "Ingress")["spec"]["rules"]
    assert rule["host"] == "onboarding.example.com"
    (path,) = rule["http"]["paths"]
    service = one_of(objects, "Service", suffix=path["backend"]["service"]["name"])
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["consent"]
    public = [one for one in render("secured") if one["kind"] in ("Ingress", "Service")]
    assert [one["spec"].get("type") for one in public] == ["ClusterIP"]


def test_tenants_are_applied_by_a_command_that_the_program_knows():
    objects = render("mutual-tls")
    job = one_of(objects, "Job")
    assert (
        job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"
    )
    (only,) = job["spec"]["template"]["spec"]["containers"]
    words = _parser(only["args"]).parse_args(only["args"])
    assert (words.act, words.allow_removals) == ("apply", 3)
    assert (words.by, words.why) == ("helm release default/rel", "revision 1")
    listed = yaml.safe_load(one_of(objects, "ConfigMap", "-tenants")["data"]["tenants.yaml"])
    assert [one["name"] for one in listed] == ["contoso", "fabrikam"]
    assert str(words.file).startswith(only["volumeMounts"][0]["mountPath"])


def test_rules_are_those_of_the_file_and_link_to_where_the_runbooks_are(chart, tmp_path):
    objects = render("secured", chart=chart)
    rules = one_of(objects, "PrometheusRule")["spec"]
    expected = yaml.safe_load(RULES)
    expected["groups"][0]["rules"][0]["annotations"]["runbook_url"] = (
        "https://git.example.com/defender-ingest/blob/main/docs/operations.md#down"
    )
    assert rules == expected
    if PROMTOOL is not None:
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        subprocess.run(
            [PROMTOOL, "check", "rules", tmp_path / "rules.yaml"], check=True, timeout=30
        )


def test_the_signals_that_the_chart_has_come_through_whole():
    objects = render("secured")
    files = CHART / "files"
    groups = one_of(objects, "PrometheusRule")["spec"]["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert names == re.findall(
        r"^ +- alert: (\w+)$", (files / "rules.yaml").read_text(), re.MULTILINE
    )
    links = [
        rule["annotations"]["runbook_url"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert all(one.startswith("https://git.example.com/defender-ingest/") for one in links)
    data = one_of(objects, "ConfigMap", "-dashboard")["data"]["defender-ingest.json"]
    assert json.loads(data) == json.loads((files / "dashboard.json").read_text())


def test_the_dashboard_is_the_file_and_no_template(chart):
    data = one_of(render("secured", chart=chart), "ConfigMap", "-dashboard")["data"]
    assert json.loads(data["defender-ingest.json"]) == {"title": "{{ not a template }}"}


def test_notes_tell_how_to_see_the_first_alert_in_words_that_the_program_knows():
    said = run("install", "--dry-run=client", *values("minimal"))
    notes = said[said.index("NOTES:") :]
    commands = re.findall(r"-- defender-ingest (.*)$", notes, re.MULTILINE)
    assert [_parser(one.split()).parse_args(one.split()).act for one in commands] == ["add", "list"]
    assert "kcat -b kafka-1:9092 -C -t defender.alerts -X isolation.level=read_committed" in notes
    assert "without TLS" in notes
    assert "kubectl -n default port-forward deploy/rel-defender-ingest 9465" in notes
    said = run("install", "--dry-run=client", *values("secured"), "--set", "replicas=65")
    assert "-t soc.alerts" in said
    assert "65 replicas share 64 shards" in said
    assert "without TLS" not in said


def test_every_value_is_used_and_every_used_one_is_there():
    known = yaml.safe_load((CHART / "values.yaml").read_text())
    templates = "\n".join(one.read_text() for one in (CHART / "templates").iterdir())
    # What is inside of these is handed on whole.
    handed_on = (
        r"strategy|resources|labels|\w*[sS]ecurityContext|\w+Probe|topologySpreadConstraints"
    )

    def keys(content: Any) -> Iterator[str]:
        if isinstance(content, dict):
            for key, inner in content.items():
                yield key
                yield from () if re.fullmatch(handed_on, key) else keys(inner)

    assert [key for key in keys(known) if not re.search(rf"\.{key}\b", templates)] == []
    for path in re.findall(r"(?:\.Values|\$values)\.([\w.]+)", templates):
        here = known
        for key in path.split("."):
            assert key in here, path
            here = here[key]


def test_every_value_is_explained():
    lines = (CHART / "values.yaml").read_text().splitlines()
    top = [number for number, line in enumerate(lines) if re.match(r"\w", line)]
    assert len(top) > 30
    schema = json.loads((CHART / "values.schema.json").read_text())
    named = {lines[number].partition(":")[0] for number in top}
    assert named == schema["properties"].keys() - {"global"}


def test_the_install_command_of_the_page_takes_the_values_of_the_page(tmp_path):
    page = CHART / "README.md"
    (words,) = (one for one in commands(page, "helm") if "install" in one)
    file = tmp_path / "values.yaml"
    file.write_text(page.read_text().partition("```yaml\n")[2].partition("```")[0])
    flags = [
        str(file) if word == "values.yaml" else word for word in words[words.index("--values") :]
    ]
    # The last step, to give it all to a cluster, is the one that is left out.
    said = run("install", *flags, *words[: words.index("install")], "--dry-run=client")
    assert "kind: Deployment" in said
    assert "namespace: defender" in said.lower()
    assert "NOTES:" in said


def test_the_preparing_commands_of_the_page_are_taken(tmp_path):
    file = tmp_path / "secret"
    file.write_text("hush")
    told = ""
    for words in commands(CHART / "README.md", "kubectl"):
        mine = [word.replace("=FILE", f"={file}") for word in words]
        # No cluster is at hand: what would be given to it is shown.
        command = [program("kubectl"), *mine, "--dry-run=client", "--output=yaml"]
        told += subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout
    assert "kind: Namespace" in told
    assert "client-secret: aHVzaA==" in told
