"""The log: one event a line, from us and from libraries, with every secret masked on the way out."""

import base64
import io
import json
import logging
import threading
from urllib.parse import quote, quote_plus

import jwt
import pytest
import structlog
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ingest.settings.models import Logs
from ingest.telemetry.logs import Redaction, logging_to, mask_from_now_on
from tests.harness.secrets import find_leaks

SECRET = "q8Q~hush/secret+value=.7_"
TOKEN = jwt.encode({"tid": "a", "roles": ["b"]}, "k" * 32, algorithm="HS256")
MASK = "[redacted]"
LIBRARIES = (
    "msal",
    "msal.token_cache",
    "aiokafka.producer",
    "urllib3.connectionpool",
    "aiohttp.client",
)


class Written:
    """What is logged while a block runs."""

    def __init__(self) -> None:
        self.text = ""

    @property
    def events(self):
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log():
    """Run a function while everything is logged, and return what was written."""

    def logged(work, *, level="debug", form="json", secrets=(SECRET,)) -> Written:
        stream, written = io.StringIO(), Written()
        with logging_to(stream, Logs(level=level, format=form), secrets=list(secrets)):
            work()
        written.text = stream.getvalue()
        return written

    levels = {name: logging.getLogger(name).level for name in ("defender_ingest", "msal")}
    yield logged
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def ours() -> structlog.stdlib.BoundLogger:
    return structlog.get_logger("defender_ingest")


def redacted(**event):
    return Redaction([SECRET])(None, "", event)


@pytest.mark.parametrize(
    "key",
    [
        *("client_secret", "Authorization", "access_token", "id_token", "token", "TOKEN"),
        *("password", "client_assertion", "set-cookie", "api_key", "X-Secret-Thing"),
    ],
)
def test_what_is_called_a_secret_is_masked_whatever_it_looks_like(key):
    for value in ("x", b"x", ["x", "y"], {"a": "x"}, object()):
        assert redacted(**{key: value}) == {key: MASK}
        assert redacted(headers={key: value}) == {"headers": {key: MASK}}


@pytest.mark.parametrize("value", [12345678, 1.5])
def test_a_password_of_digits_is_masked_though_it_was_read_as_a_number(value):
    assert redacted(password=value, headers={"api_key": value}) == {
        "password": MASK,
        "headers": {"api_key": MASK},
    }


@pytest.mark.parametrize("key", ["tokens", "token_version", "outcome", "tenant", "seconds"])
def test_what_is_not_called_a_secret_is_left_as_it_is(key):
    for value in ("x", None, True, 7, 1.5, ["a", 2]):
        assert redacted(**{key: value}) == {key: value}


def test_a_secret_that_is_not_there_is_said_to_be_not_there():
    assert redacted(client_secret=None) == {"client_secret": None}


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        TOKEN.rpartition(".")[0],
        f"Authorization: Bearer {TOKEN}",
        "bearer opaque-token-1234",
        "client_secret=hush&scope=x",
        '{"access_token": "opaque", "expires_in": 3599}',
        "{'client_assertion': 'opaque'}",
        "refresh_token: opaque",
        "PASSWORD=opaque",
    ],
)
def test_what_looks_like_a_secret_is_masked_though_nobody_knew_it(text):
    cleaned = redacted(event=f"before {text} after")["event"]
    assert cleaned.startswith("before ")
    assert MASK in cleaned
    assert not [word for word in ("opaque", "hush", "eyJ") if word in cleaned]
    assert find_leaks(cleaned, [TOKEN]) == []


_FORMS = {
    "plain": lambda text: text,
    "URL": lambda text: quote(text, safe=""),
    "URL form": quote_plus,
    **{
        f"{encode.__name__} after {before} bytes": lambda text, before=before, encode=encode: (
            encode(b"x" * before + text.encode() + b"yz").decode()
        )
        for before in range(4)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    },
}


@pytest.mark.parametrize("form", _FORMS)
@settings(max_examples=25)
@given(
    secret=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=10),
    around=st.text(st.characters(codec="utf-8"), max_size=20),
)
@example(secret=SECRET, around="")
def test_a_known_secret_is_masked_in_its_usual_forms(form, secret, around):
    assume(secret not in MASK)
    cleaned = Redaction([secret]).text(around + _FORMS[form](secret) + around)
    assert [leak for leak in find_leaks(cleaned, [secret]) if leak.form != "bearer"] == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [SECRET]}},
        [(SECRET,), {SECRET}, frozenset((SECRET,))],
        SECRET.encode(),
        ValueError(f"refused: {SECRET}"),
        {SECRET: "a key"},
        {"a": {SECRET: {"b": 1}}},
    ],
    ids=repr,
)
def test_a_known_secret_is_masked_wherever_it_hides_in_a_value(value):
    assert find_leaks(repr(redacted(value=value)), [SECRET]) == []


@pytest.mark.parametrize("before", [*range(16 * 1024 - 30, 16 * 1024 + 3, 3)])
def test_a_secret_at_the_place_where_a_long_text_is_cut_leaves_no_piece(before):
    text = Redaction([SECRET]).text("x" * before + SECRET)
    assert len(text) <= 16 * 1024 + len(MASK)
    assert SECRET[:6] not in text


def test_a_text_that_is_far_too_long_is_cut():
    assert len(redacted(event="x" * 1_000_000)["event"]) < 20_000


def test_without_a_known_secret_nothing_is_masked_by_value():
    assert Redaction([]).text("plain words") == "plain words"
    assert Redaction([""]).text("plain words") == "plain words"
    assert Redaction(["a"]).text("banana") == "banana"


def test_an_event_of_ours_is_one_line_of_json_with_its_level_and_time(log):
    written = log(lambda: ours().warning("state_changed", tenant="t", reason="two\nlines"))
    assert written.text.count("\n") == 1
    (event,) = written.events
    assert (event["event"], event["level"]) == ("state_changed", "warning")
    assert (event["tenant"], event["reason"]) == ("t", "two\nlines")
    assert event["timestamp"].endswith("Z")


def refuse() -> None:
    raise ValueError(f"the secret is {SECRET}")


def break_down() -> None:
    try:
        refuse()
    except ValueError as error:
        raise RuntimeError(f"Bearer {TOKEN}") from error


def tell_of_ours() -> None:
    try:
        break_down()
    except RuntimeError:
        ours().exception("broken", client_secret=SECRET)


def tell_of_a_librarys() -> None:
    try:
        break_down()
    except RuntimeError:
        logging.getLogger("aiokafka").exception("broken with %s", SECRET)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("tell", [tell_of_ours, tell_of_a_librarys])
def test_a_traceback_is_whole_but_for_the_secrets_in_it(log, tell, form):
    # It is formatted by another thread than the one that raised.
    written = log(tell, form=form)
    assert "ValueError: the secret is [redacted]" in written.text
    assert "RuntimeError: [redacted]" in written.text
    assert written.text.count("in break_down") == 2
    assert find_leaks(written.text, [SECRET, TOKEN]) == []


def test_a_stack_that_is_logged_hides_secrets_too(log):
    work = f"logging.getLogger('aiokafka').warning('here', stack_info=True)  # {SECRET}"
    code = compile(work, "<stack>", "exec")
    written = log(lambda: exec(code, {"logging": logging}))  # noqa: S102 - a frame of our own
    assert written.events[0]["event"] == "here"
    assert find_leaks(written.text, [SECRET]) == []


@pytest.mark.parametrize("library", [one for one in LIBRARIES if not one.startswith("msal")])
@pytest.mark.parametrize("form", ["json", "console"])
def test_libraries_speak_at_debug_and_their_secrets_are_masked(log, library, form):
    def speak():
        logger = logging.getLogger(library)
        logger.debug("POST /token with %s", f"client_secret={quote_plus(SECRET)}")
        logger.debug("sent %r", {"Authorization": f"Bearer {TOKEN}"})
        logger.debug("got %s", SECRET.encode())

    written = log(speak, form=form)
    assert written.text.count(library) == 3
    assert written.text.count(MASK) == 3
    assert find_leaks(written.text, [SECRET, TOKEN]) == []


@pytest.mark.parametrize("library", [one for one in LIBRARIES if one.startswith("msal")])
def test_msal_is_silent_at_every_level_since_it_logs_answers(log, library):
    def speak():
        for level in (logging.DEBUG, logging.WARNING, logging.CRITICAL):
            logging.getLogger(library).log(level, "event=%s", {"response": "opaque"})

    assert log(speak).text == ""


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_libraries_are_quiet_below_a_warning_unless_all_is_to_be_told(log, level):
    def speak():
        for library in ("aiokafka", "urllib3", "aiohttp"):
            logging.getLogger(library).info("chatter")
            logging.getLogger(library).error("trouble")
        ours().debug("detail")
        ours().error("trouble of ours")

    said = [event["event"] for event in log(speak, level=level).events]
    assert said == ["trouble"] * 3 + ["trouble of ours"]


def test_a_library_that_cannot_fill_in_its_own_words_leaks_nothing_and_stops_nothing(log, capsys):
    def speak():
        # By default the standard library shows on stderr what it could not write, as it is.
        logging.getLogger("aiokafka").warning("%d of them", SECRET)
        ours().info("still here")

    written = log(speak)
    assert written.events[-1]["event"] == "still here"
    assert find_leaks(written.text + capsys.readouterr().err, [SECRET]) == []


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError("nobody reads")


def test_a_log_that_nobody_can_read_any_more_is_not_told_elsewhere_with_its_secrets(capsys):
    with logging_to(Closed(), Logs(level="info", format="json"), secrets=[SECRET]):
        ours().error("refused", reason=SECRET)
    assert find_leaks(capsys.readouterr().err, [SECRET]) == []


def test_all_that_was_logged_is_written_before_the_end_also_from_threads(log):
    def speak():
        threads = [
            threading.Thread(target=lambda n=n: [ours().info("tick", n=n) for _ in range(200)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(log(speak).events) == 800


def test_after_the_end_the_log_is_as_it_was_before(log):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    log(lambda: None)
    assert (root.handlers, root.level) == before


def test_a_secret_that_is_learnt_while_the_process_runs_is_masked_from_then_on():
    stream = io.StringIO()
    with logging_to(stream, Logs(format="json"), secrets=[SECRET]):
        mask_from_now_on("the-next-secret/2")
        structlog.get_logger("defender_ingest").info("said", words=f"{SECRET} the-next-secret/2")
    assert not find_leaks(stream.getvalue(), [SECRET, "the-next-secret/2"])
    assert MASK in stream.getvalue()


def test_what_kafkas_client_says_again_and_again_is_written_once_and_counted(log):
    moments = iter([100.0] * 50 + [111.0] * 50)

    def work() -> None:
        library = logging.getLogger("aiokafka.conn")
        for node in range(100):
            record = library.makeRecord(
                library.name, logging.ERROR, "", 0, "Unable to connect to %s", (node,), None
            )
            record.created = next(moments)
            library.handle(record)

    said = [event["event"] for event in log(work, level="info").events]
    assert said == ["Unable to connect to 0", "Unable to connect to 50 (49 more like it since)"]
