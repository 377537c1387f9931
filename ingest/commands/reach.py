"""Whether a host can be reached at all: its name, the proxy, the connection, its certificate. Blocking."""

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ingest.commands.findings import Finding, failed, passed
from ingest.errors import SettingsError
from ingest.settings.proxy import ProxyOf
from ingest.settings.trust import tls_context

_SECONDS = 10.0
_ANSWER_BYTES = 8 * 1024
_HTTPS = 443


def reach(
    url: str, *, label: str, setting: str, ca_file: Path | None, proxy_of: ProxyOf
) -> Iterator[Finding]:
    """Yield what was found on the way to a URL's host; ends with the first that failed.

    Args:
        url: of an API, with https.
        label: what the host is to us, for people.
        setting: the key of the configuration that names it.
        ca_file: certificate authorities in place of the system's.
        proxy_of: which proxy a host is reached through.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _HTTPS
    proxy = proxy_of(host)
    via = urlsplit("" if proxy is None else proxy if "//" in proxy else f"//{proxy}")
    near, near_port = (host, port) if proxy is None else (via.hostname or "", via.port or 8080)
    names = setting if proxy is None else "http.proxy (or HTTPS_PROXY)"
    where = f"{label} DNS"
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(near, near_port)}
    except (OSError, UnicodeError):
        yield failed(
            where, f"the name {near} is not known here: check {names}, and this machine's DNS"
        )
        return
    shown = sorted(map(str, found))
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    of = "" if proxy is None else f" (of the proxy, which looks {host} up)"
    yield passed(where, f"{near} is {shown[0]}{more}{of}")

    where = f"{label} connection"
    try:
        plain = socket.create_connection((near, near_port), timeout=_SECONDS)
    except OSError as error:
        yield failed(
            where,
            f"{near}:{near_port} cannot be reached ({_kind(error)}): check {names}, and let this machine out "
            f"to {near} on port {near_port}",
        )
        return
    with plain:
        if proxy is not None and (refusal := _connect(plain, host, port, via)):
            yield failed(
                where,
                f"the proxy {near}:{near_port} does not let us through to {host}:{port} ({refusal}): "
                "have it allowed there, or name the host in http.no_proxy",
            )
            return
        through = "" if proxy is None else f" through the proxy {near}:{near_port}"
        yield passed(where, f"{host}:{port} answers{through}")
        yield _tls(plain, host, label, ca_file)


def _connect(plain: socket.socket, host: str, port: int, via: SplitResult) -> str:
    """Ask a proxy for a tunnel; return why there is none, "" where there is one."""
    user, password = via.username, via.password
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if user is not None:
        pair = f"{unquote(user)}:{unquote(password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    answer = b""
    try:
        plain.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in answer and len(answer) < _ANSWER_BYTES:
            piece = plain.recv(1024)
            if not piece:
                break
            answer += piece
    except OSError as error:
        return _kind(error)
    status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if status == [b"200"]:
        return ""
    return f"HTTP {status[0].decode('ascii', 'replace')[:3]}" if status else "no answer"


def _tls(plain: socket.socket, host: str, label: str, ca_file: Path | None) -> Finding:
    where = f"{label} TLS"
    try:
        context = tls_context(ca_file)
    except SettingsError:
        return failed(
            where, f"ca_file: {ca_file} holds no certificate authorities that can be read"
        )
    try:
        with context.wrap_socket(plain, server_hostname=host) as tls:
            until = dict(tls.getpeercert() or {}).get("notAfter", "?")
            return passed(where, f"{tls.version()}, certificate until {until}")
    except ssl.SSLCertVerificationError as error:
        trusted = "the system's authorities" if ca_file is None else f"ca_file {ca_file}"
        return failed(
            where,
            f"the certificate of {host} is not trusted ({error.verify_message}) by {trusted}: a proxy that "
            "looks into TLS needs its authority in ca_file; otherwise take a wrong ca_file away",
        )
    except OSError as error:
        return failed(
            where, f"{host} does not speak TLS with us ({_kind(error)}): see what is between"
        )


def _kind(error: OSError) -> str:
    return error.strerror or type(error).__name__
