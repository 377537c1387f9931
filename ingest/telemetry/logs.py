"""Logs: one event a line, structured, without secrets, and written by a thread of their own.

Libraries log through the standard library, we through structlog; both end in the same processors.
"""

import base64
import logging
import queue
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import structlog

from ingest.settings.models import Logs

_QUEUE_LINES = 20_000
_REST_SECONDS = 0.05
_MASK = "[redacted]"
_SECRET_KEYS = re.compile(
    r"secret|password|passwd|authorization|assertion|access_token|id_token|^token$|cookie|api_key",
    re.IGNORECASE,
)
_SECRET_TEXTS = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?i:(?:client_secret|client_assertion|access_token|refresh_token|password)"
    r"[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+"
)
_FAR_TOO_LONG = 16 * 1024
_SILENT = ("msal",)
"""MSAL writes answers of the token endpoint into its log, and those may hold tokens."""

_NEVER_DEBUG = ("aiokafka.conn",)
"""At debug it writes the beginning of each request, and those hold alerts."""

_REPETITIVE = "aiokafka"
_REPEAT_SECONDS = 10.0

Event = MutableMapping[str, Any]


class Redaction:
    """A processor that masks secrets by key, by look, and by value in its usual encodings.

    Args:
        secrets: values that are known to be secret.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self._longest = 0
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask one more secret from now on."""
        self._forms.update(_forms(secret))
        if self._forms:
            ordered = sorted(self._forms, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, ordered)))
            self._longest = len(ordered[0])

    def __call__(self, _logger: object, _name: str, event: Event) -> Event:
        """Mask what is secret in one event."""
        for key, value in event.items():
            event[key] = self._clean(key, value)
        return event

    def _clean(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if _is_secret(key):
            return _MASK
        if isinstance(value, int | float):
            return value
        if isinstance(value, dict):
            return {
                self.text(str(name)): self._clean(str(name), one) for name, one in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(key, one) for one in value]
        return self.text(value if isinstance(value, str) else str(value))

    def text(self, text: str) -> str:
        """Mask what is secret in a text."""
        is_cut = len(text) > _FAR_TOO_LONG
        if is_cut:
            text = text[: _FAR_TOO_LONG + self._longest]
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        text = _SECRET_TEXTS.sub(_MASK, text)
        # The end may be the beginning of a secret, which is not known by its beginning.
        return text[: len(text) - self._longest] + "…" if is_cut else text


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEYS.search(key) is not None


_redactions: list[Redaction] = []


def mask_from_now_on(secret: str) -> None:
    """Mask a secret that the process has only now come to know, in every log that it writes."""
    for redaction in _redactions:
        redaction.learn(secret)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, URL-encoded, and in base64 at each alignment."""
    if len(secret) < 4:  # noqa: PLR2004 - masking a letter or two would mask everything
        return
    yield from (secret, quote(secret, safe=""), quote_plus(secret))
    raw = secret.encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # The first and last digits hold bits of the neighbours.
        inner = encoded[-(-shift * 8 // 6) :].rstrip("=")
        inner = inner[: len(raw) * 8 // 6 - 1]
        if len(inner) >= 4:  # noqa: PLR2004 - same
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


class _Queue(QueueHandler):
    """Hands records to the writing thread; where that is far behind, lines are dropped and counted.

    A terminal or pipe that nobody reads must not stop the daemon.
    """

    def __init__(self, lines: "queue.Queue[Any]") -> None:
        super().__init__(lines)
        self._lines = lines
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave the record as it is: it is formatted by the writing thread."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record where the writing thread finds it."""
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return
        if self.dropped and self._lines.qsize() < _QUEUE_LINES // 2:
            dropped, self.dropped = self.dropped, 0
            structlog.get_logger("defender_ingest").error("log_lines_dropped", lines=dropped)


class _Listener(QueueListener):
    """Writes what is in the queue, and rests where nothing is.

    It looks, and is not woken: to wake a thread for each line costs the event loop more than the line does.
    """

    def __init__(self, lines: "queue.Queue[Any]", handler: logging.Handler) -> None:
        super().__init__(lines, handler)
        self._lines = lines

    def dequeue(self, block: bool) -> Any:  # noqa: FBT001 - the library's
        """Return the next record."""
        while self._lines.empty():
            time.sleep(_REST_SECONDS)
        return super().dequeue(block)


class _Repeats(logging.Filter):
    """Lets one in ten seconds through of what Kafka's client says again and again while a broker is down.

    The next one says how many there were. What differs only in its arguments counts as the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        if not record.name.startswith(_REPETITIVE):
            return True
        kind = (record.name, record.levelno, str(record.msg))
        since, more = self._said.get(kind, (float("-inf"), 0))
        if record.created - since < _REPEAT_SECONDS:
            self._said[kind] = (since, more + 1)
            return False
        self._said[kind] = (record.created, 0)
        if more:
            record.msg = f"{record.msg} ({more} more like it since)"
        return True


class _Writer(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be written is lost: the default would show it unmasked."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say only whose line it was."""
        with suppress(Exception):
            self.stream.write(f'{{"event": "log_line_unwritable", "logger": "{record.name}"}}\n')
            self.flush()


@contextmanager
def logging_to(stream: TextIO, settings: Logs, *, secrets: list[str]) -> Iterator[None]:
    """Send every log of the process to `stream` until the context is left.

    Args:
        stream: usually standard error or output.
        settings: level and format.
        secrets: values that must never be shown.
    """
    level = getattr(logging, settings.level.upper())
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    redaction = Redaction(secrets)
    _redactions.append(redaction)
    shared: list[Callable[..., Any]] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _Writer(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redaction,
                _renderer(console=console),
            ],
        )
    )
    lines: queue.Queue[Any] = queue.Queue(_QUEUE_LINES)
    listener = _Listener(lines, handler)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    root.handlers = [_Queue(lines)]
    if level != logging.DEBUG:
        root.handlers[0].addFilter(_Repeats())
    root.setLevel(logging.DEBUG if level == logging.DEBUG else max(level, logging.WARNING))
    ours = logging.getLogger("defender_ingest")
    ours.setLevel(level)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in _NEVER_DEBUG:
        # At info it tells each login, of which there may be many.
        logging.getLogger(name).setLevel(
            logging.INFO if level == logging.DEBUG else logging.WARNING
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            # Here and not by the writing thread, where nothing is being raised.
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        _redactions.remove(redaction)
        root.handlers, root.level = before
        structlog.reset_defaults()


def _renderer(*, console: bool) -> Callable[..., Any]:
    if console:
        return structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
