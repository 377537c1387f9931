"""A partner's whole installation on loopback: simulated cloud, replicas with consent pages, a shell.

And an administrator who walks through the pages as a browser does, form by form and redirect by redirect.
"""

import io
import json
import ssl
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
import yaml

from ingest.cli import main
from ingest.simulator.broker import free_port
from ingest.simulator.processes import Child
from ingest.simulator.remote import RemoteCloud

PROGRAM = (sys.executable, "-m", "ingest")
PARTNER = "Example Security"


@dataclass
class Installation:
    """A running cloud, and the configuration of replicas that are started one by one.

    `known` is the one directory that has consented before, and is polled.
    """

    folder: Path
    known: str
    cloud: RemoteCloud
    ready: dict[str, Any]
    ports: list[int]
    replicas: dict[int, Child] = field(default_factory=dict)

    @property
    def newcomers(self) -> list[str]:
        """The directories that have not consented at the start."""
        return [one["id"] for one in self.cloud.tenants() if one["id"] != self.known]

    def page(self, replica: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[replica]}"

    def start(self, replica: int = 0) -> None:
        child = self.replicas.get(replica)
        if child is None:
            child = self.replicas[replica] = Child(
                name=f"replica-{replica}",
                command=[*PROGRAM, "run", "--config", str(self.folder / "daemon.yaml")],
                folder=self.folder,
                env={"DEFENDER_INGEST_CONSENT__PORT": str(self.ports[replica])},
            )
        before = self.said(replica, "consent_page_opened")
        child.start()
        child.wait_until(
            lambda: self.said(replica, "consent_page_opened") > before,
            what="consent page",
            timeout=60,
        )

    def said(self, replica: int, event: str) -> int:
        out = self.replicas[replica].out
        return out.read_text().count(f'"event": "{event}"') if out.exists() else 0

    def shell(self, *words: str, code: int = 0) -> str:
        """Run a command in this process, which takes a tenth of the time of another one."""
        said = io.StringIO()
        with redirect_stdout(said):
            found = main([*words, "--config", str(self.folder / "daemon.yaml")])
        assert found == code, said.getvalue()
        return said.getvalue()

    def invite(self, name: str, *words: str) -> str:
        """Return the path of an invitation's link."""
        link = json.loads(self.shell("invite", name, "--json", *words))["link"]
        assert link.startswith(self.page())
        return urlsplit(link).path

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return all tenants as `tenants list` shows them, by their GUID."""
        rows = map(json.loads, self.shell("tenants", "list", "--json").splitlines())
        return {row["tenant"]: row for row in rows}

    def calls(self, tenant: str) -> dict[str, Any]:
        """Return what the cloud was asked about one directory."""
        return json.loads(self.cloud.get("calls"))[tenant]

    def wait_for_calls(self, tenant: str, more_than: int, seconds: float) -> float:
        """Return how long it took until the directory's alerts were asked for more often."""
        began = time.monotonic()
        while self.calls(tenant)["total"] <= more_than:
            assert time.monotonic() - began < seconds, self.calls(tenant)
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def installation(
    bootstrap: str, folder: Path, *, replicas: int = 1, unconsented: int = 3, **consent: Any
) -> Iterator[Installation]:
    """Start a cloud, and write a configuration that names the one directory that has consented."""
    config = folder / "daemon.yaml"
    ports = [free_port() for _ in range(replicas)]
    words = ["simulate", "--port", "0", "--tenants", str(unconsented + 1), "--no-limits"]
    words += ["--unconsented", str(unconsented), "--backlog", "3", "--poll-interval", "1"]
    words += ["--redirect-url", f"http://127.0.0.1:{ports[0]}/consent"]
    words += ["--kafka", bootstrap, "--prefix", f"t{uuid.uuid4().hex[:8]}", "--shards", "2"]
    words += ["--write-config", str(config), "--state-dir", str(folder)]
    with ExitStack() as stack:
        simulator = Child(name="simulator", command=[*PROGRAM, *words], folder=folder)
        stack.enter_context(simulator)
        ready = json.loads(simulator.first_line(timeout=60))
        content = yaml.safe_load(config.read_text())
        (known,) = content["tenants"]
        generous = {"requests_per_minute": 1000, "confirmations_per_minute": 100}
        content["consent"] |= {**generous, **consent}
        assert content["consent"]["partner"] == PARTNER
        config.write_text(yaml.safe_dump(content))
        cloud = RemoteCloud(url=ready["url"], ca_file=Path(ready["ca_file"]))
        made = Installation(folder, known["id"], cloud, ready, ports)
        try:
            yield made
        finally:
            for child in made.replicas.values():
                child.stop()


class _Forms(HTMLParser):
    """What a page says, and what its first form would send."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        elif tag == "input":
            self.fields[found["name"]] = found["value"]
        elif tag == "a":
            self.links.append(found["href"])

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@dataclass
class Seen:
    """A page as somebody sees it."""

    status: int
    text: str
    forms: _Forms
    headers: Any

    @property
    def title(self) -> str:
        return self.text.partition("<h1>")[2].partition("</h1>")[0]


class Administrator:
    """Somebody with a browser, at one installation; cookies are kept as browsers keep them.

    `replica` says where the requests go: what a load balancer would decide.
    """

    def __init__(self, at: Installation) -> None:
        self.at = at
        self.cookies: dict[str, str] = {}
        context = ssl.create_default_context(cafile=at.ready["ca_file"])
        self._http = urllib3.PoolManager(ssl_context=context, retries=False)

    def get(self, path: str, *, replica: int = 0) -> Seen:
        return self._seen(self._ask("GET", self.at.page(replica) + path))

    def begin(self, path: str, *, replica: int = 0) -> str:
        """Open an invitation (or `/`) and press its button; return where that leads."""
        page = self.get(path, replica=replica)
        assert page.status == 200, page.text
        assert page.forms.action == "/begin"
        body = urlencode(page.forms.fields)
        answer = self._ask("POST", f"{self.at.page(replica)}/begin", body)
        assert answer.status == 303, answer.data
        return answer.headers["Location"]

    def decide(self, where: str, decision: str, directory: str) -> str:
        """Press a button on Microsoft's page; return the way back, without its host."""
        page = self._ask("GET", where)
        assert page.status == 200, page.data
        action = _Forms(page.data.decode()).action
        origin = f"{urlsplit(where).scheme}://{urlsplit(where).netloc}"
        body = urlencode({"directory": directory, "decision": decision})
        answer = self._ask("POST", f"{origin}{action}", body)
        assert answer.status == 302, answer.data
        back = urlsplit(answer.headers["Location"])
        assert f"{back.scheme}://{back.netloc}" == self.at.page()
        return f"{back.path}?{back.query}"

    def consent(
        self, path: str, directory: str, decision: str = "accept", *, back_at: int = 0
    ) -> Seen:
        """Go the whole way; return the page at its end."""
        return self.get(self.decide(self.begin(path), decision, directory), replica=back_at)

    def _ask(self, method: str, url: str, body: str | None = None) -> urllib3.BaseHTTPResponse:
        ours = url.startswith("http://")
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        if ours:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            # The address of the page, whichever replica answers.
            headers["Origin"] = self.at.page() if body else ""
        headers = {name: value for name, value in headers.items() if value}
        answer = self._http.request(method, url, body=body, headers=headers, redirect=False)
        if ours:
            for name, morsel in SimpleCookie(answer.headers.get("Set-Cookie", "")).items():
                self.cookies[name] = morsel.value
        return answer

    def _seen(self, answer: urllib3.BaseHTTPResponse) -> Seen:
        text = answer.data.decode()
        return Seen(answer.status, text, _Forms(text), answer.headers)
