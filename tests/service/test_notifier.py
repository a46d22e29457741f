"""Messages arrive at real listeners of each kind; slow, dead and refusing ones cost only themselves."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from io import StringIO
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from mayfly.core.facts import JobEnded
from mayfly.core.memory import Job, Memory
from mayfly.core.model import Cause, Condition, JobId, JobState, PoolName, Severity
from mayfly.core.notice_targets import MailTarget, Target
from mayfly.core.notices import STANDS, Kind, Message, Notice, message
from mayfly.edge import mail, notice_sending
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.log import Log
from mayfly.service import notifier
from mayfly.service.board import StatusBoard
from mayfly.service.notifier import Notifier, deliver, of_job
from tests.fakes.authority import made
from tests.fakes.http import Answer, Call, Fake, Fault

Until = Callable[[Callable[[], Any]], Any]
TEXT = "slot gpu-0 is held: XID 79 <!channel> & `x`"
BEGAN = Notice(
    *(
        Kind.BEGAN,
        100.0,
        "box",
        "slot.held",
        "error",
        "gpu",
        ("gpu-0",),
        TEXT,
        "mayfly retry gpu-0",
    ),
    seconds=STANDS,
)


class Listener(Fake):
    """Takes whatever is posted."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = Answer(200, b"ok")
        self.route("POST", "/{path*}", self.take)
        self.route("POST", "/", self.take)

    def take(self, _: Call) -> Answer:
        return self.answers

    @property
    def taken(self) -> list[Any]:
        return [call.json for call in self.calls if call.status == 200]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as fake:
        yield fake


def said(target: Target, notice: Notice = BEGAN) -> Message:
    return message(target, notice)


def test_a_webhook_gets_every_field_as_json(listener: Listener, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n")
    token.chmod(0o600)
    target = Target("ops", webhook=f"{listener.url}/hook", token={"file": str(token)})
    deliver(target, said(target))
    (call,) = listener.calls
    assert (call.path, call.headers["authorization"]) == ("/hook", "Bearer a-token-of-some-length")
    assert call.json == {
        "schema": "mayfly.notice/1", "title": "box, pool gpu: slot.held", "kind": "began",
        "host": "box", "code": "slot.held", "severity": "error", "pool": "gpu", "slots": ["gpu-0"],
        "text": f"{TEXT}\n\nNext: mayfly retry gpu-0\nWhy: mayfly help slot.held", "condition": TEXT,
        "fix": "mayfly retry gpu-0", "help": "mayfly help slot.held",
        "job": "", "name": "", "user": "", "state": "", "cause": "", "exit_code": None,
        "seconds": STANDS, "at": "1970-01-01T00:01:40.000Z",
    }  # fmt: skip


def test_ntfy_gets_its_topic_title_and_priority(listener: Listener) -> None:
    target = Target("phone", ntfy=f"{listener.url}/behind/a-proxy/mayfly")
    deliver(target, said(target))
    deliver(target, said(target, Notice(Kind.TEST, 0.0, "bÖx", text="é")))
    first, second = listener.calls
    assert first.path == "/behind/a-proxy/"
    assert first.json == {
        "topic": "mayfly", "title": "box, pool gpu: slot.held", "priority": 5,
        "message": f"{TEXT}\n\nNext: mayfly retry gpu-0\nWhy: mayfly help slot.held",
    }  # fmt: skip
    assert (second.json["title"], second.json["priority"]) == ("bÖx: a test of Mayfly's notices", 3)


def test_slack_gets_nothing_that_it_would_read_as_markup(
    listener: Listener, tmp_path: Path
) -> None:
    address = tmp_path / "slack"
    address.write_text(f"{listener.url}/services/T0/B0/SECRET\n")
    address.chmod(0o600)
    target = Target("chat", slack={"file": str(address)})
    deliver(target, said(target))
    (call,) = listener.calls
    assert call.path == "/services/T0/B0/SECRET"
    odd = Notice(
        Kind.JOB, 0.0, "box", job="j1", state="failed", text="@channel @ALL: me@all.example"
    )
    deliver(target, said(target, odd))
    told = listener.calls[-1].json["text"].partition("\n")[2]
    assert told == "@\u200bchannel @\u200bALL: me@all.example", "those that are compatible read it"
    assert call.json["text"].startswith(
        "*box, pool gpu: slot.held*\nslot gpu-0 is held: XID 79 &lt;!ch"
    )
    listener.answers = Answer(403, {"message": "invalid_token"})
    with pytest.raises(Refused) as refused:
        deliver(target, said(target))
    assert "invalid_token" in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "family", "says"),
    [
        (Fault(status=500, times=None), Passing, "answered 500"),
        (Fault(status=429, headers={"Retry-After": "7"}, times=None), Passing, "rate limit"),
        (Fault(lost="before", times=None), Passing, "gave no answer"),
        (
            Fault(status=302, headers={"Location": "http://127.0.0.1:1/"}, times=None),
            Refused,
            "login",
        ),
        (Fault(status=404, times=None), Refused, "answered 404"),
    ],
    ids=lambda value: getattr(value, "says", None),
)
def test_what_an_http_listener_does_wrong_is_one_sentence(
    listener: Listener, fault: Fault, family: type[Exception], says: str
) -> None:
    listener.fail("POST", "/", fault)
    target = Target("ops", webhook=f"{listener.url}/hook")
    with pytest.raises(family, match=says):
        deliver(target, said(target))


def test_what_points_to_no_address_is_refused(tmp_path: Path) -> None:
    for text in ("ftp://x/y", "https://me:pass@x/y", "https://x/a b", "nothing"):
        place = tmp_path / "address"
        place.write_text(text)
        place.chmod(0o600)
        target = Target("chat", slack={"file": str(place)})
        with pytest.raises(Refused, match="points to is no http or https address"):
            deliver(target, said(target))


# -- mail -----------------------------------------------------------------------------------------


class Postbox:
    """A mail server's side of a session."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.answer = "250 OK"
        self.refuses = ""
        self.encrypted: list[bool] = []

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.refuses:
            return "550 no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.encrypted.append(session.ssl is not None)
        if self.answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            parsed = message_from_bytes(content, policy=policy.default)
            assert isinstance(parsed, EmailMessage)
            self.taken.append((list(envelope.rcpt_tos), parsed))
        return self.answer

    def login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


class Server(Controller):
    """A mail server at a free port."""

    def __init__(self, box: Postbox, **more: Any) -> None:
        super().__init__(box, hostname="127.0.0.1", port=0, **more)

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, int]]:
    box = Postbox()
    with Server(box) as server:
        yield box, server.port


def to(port: int, *addresses: str, **more: Any) -> Target:
    own = MailTarget(
        f"127.0.0.1:{port}", "mayfly@lab.example", addresses, **{"tls": "none", **more}
    )
    return Target("post", mail=own, jobs="all")


def test_a_mail_arrives_and_what_a_job_can_write_makes_no_header(
    postbox: tuple[Postbox, int],
) -> None:
    box, port = postbox
    target = to(port, "{user}@lab.example", "ops@lab.example")
    evil = Notice(
        Kind.JOB, 0.0, "box", job="j1", user="anna", state="failed\r\nBcc: all@x", text="ü\n.\n"
    )
    deliver(target, said(target, evil))
    ((recipients, sent),) = box.taken
    assert recipients == ["anna@lab.example", "ops@lab.example"]
    assert sent["Subject"] == "box: job j1 failed  Bcc: all@x"
    assert (sent["Bcc"], sent["Auto-Submitted"]) == (None, "auto-generated")
    assert sent.get_content().split() == ["ü", "."]


def test_a_test_goes_to_those_who_are_no_jobs_owners(postbox: tuple[Postbox, int]) -> None:
    box, port = postbox
    target = to(port, "{user}@lab.example")
    with pytest.raises(Refused, match="owners alone"):
        deliver(target, said(target))
    assert box.taken == []


def test_a_server_says_who_is_no_mailbox_and_what_it_does_not_take_now(
    postbox: tuple[Postbox, int],
) -> None:
    box, port = postbox
    box.refuses = "ops@lab.example"
    with pytest.raises(
        Refused, match=r"does not take mail for ops@lab\.example: 550 no such mailbox"
    ):
        deliver(to(port, "ops@lab.example"), said(to(port)))
    box.refuses, box.answer = "", "451 later"
    with pytest.raises(Passing, match="451 later"):
        deliver(to(port, "ops@lab.example"), said(to(port)))


@pytest.mark.parametrize("framed", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_webhook_that_says_yes_and_nothing_more_has_taken_it(framed: str) -> None:
    def answer() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(f"HTTP/1.1 200 OK\r\n{framed}\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        target = Target("hook", webhook=f"http://127.0.0.1:{server.getsockname()[1]}/x", jobs="all")
        deliver(target, said(target))
        thread.join(30)


def test_a_mailbox_that_is_none_costs_the_others_no_second_mail(
    tmp_path: Path, postbox: tuple[Postbox, int], until: Until, hurried: None
) -> None:
    box, port = postbox
    box.refuses = "ann@lab.example"
    log = Lines()
    post = notifier.Post(
        *(to(port, "{user}@lab.example", "ops@lab.example"), tmp_path / "to.json", log, deliver),
        time.time,
    )
    post.start()
    for job in ("j1", "j2"):
        post.put(Notice(Kind.JOB, time.time(), "box", job=job, user="ann", state="failed"))
    until(lambda: len(log.events) == 2)
    post.stop()
    assert [mail["Subject"] for _, mail in box.taken] == [
        "box: job j1 failed",
        "box: job j2 failed",
    ]
    assert all(recipients == ["ops@lab.example"] for recipients, _ in box.taken)
    assert all("ann@lab.example: 550 no such mailbox" in line for line in log.events)


@pytest.mark.parametrize(
    ("hangs", "told"), [(True, "said nothing for"), (False, "closed the connection")]
)
def test_a_mail_server_that_says_nothing_is_told_from_one_that_hangs_up(
    monkeypatch: pytest.MonkeyPatch, hangs: bool, told: str
) -> None:
    monkeypatch.setattr(mail, "PIECE", 0.2)

    def hang_up() -> None:
        server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        if not hangs:
            threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(Passing, match=told):
            deliver(to(server.getsockname()[1], "ops@lab.example"), said(to(1)))


def test_a_password_goes_over_tls_alone_and_to_an_authority_that_is_known(tmp_path: Path) -> None:
    box, authority = Postbox(), tmp_path / "ca.pem"
    context = made(authority)
    password = tmp_path / "password"
    password.write_text("right")
    password.chmod(0o600)
    login = {"tls": "starttls", "user": "mayfly", "password": {"file": str(password)}}
    with Server(
        box, tls_context=context, require_starttls=True, auth_required=True,
        authenticator=box.login,
    ) as server:  # fmt: skip
        target = to(server.port, "ops@lab.example", **login)
        with pytest.raises(Refused, match="certificate that is not trusted"):
            deliver(target, said(target))
        assert box.logins == []
        known = Target("post", mail=target.mail, ca=str(authority))
        deliver(known, said(known))
        assert (box.logins, box.encrypted) == ([(b"mayfly", b"right")], [True])
        password.write_text("wrong")
        with pytest.raises(Refused, match="does not take the user and password"):
            deliver(known, said(known))
        plain = to(server.port, "ops@lab.example")
        with pytest.raises(Refused, match="STARTTLS"):
            deliver(plain, said(plain))


def test_a_mail_server_that_drips_is_left_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mail, "WHOLE", 0.3)
    over = threading.Event()

    def drip() -> None:
        peer, _ = server.accept()
        with peer:
            while not over.wait(0.05):
                try:
                    peer.sendall(b"220-x\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(Passing, match=r"closed the connection|gave no answer"):
            deliver(to(server.getsockname()[1], "ops@lab.example"), said(to(1)))
        over.set()
        thread.join(30)


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "ca.pem"
    damaged.write_text("nothing")
    own = MailTarget("127.0.0.1:1", "mayfly@lab.example", ("ops@lab.example",))
    for place, why in ((damaged, "must be PEM"), (tmp_path / "none", "No such file")):
        with pytest.raises(Refused, match=f"`ca` {place} cannot be taken: .*{why}"):
            deliver(Target("post", mail=own, ca=str(place)), said(to(1)))


def test_nobody_and_no_tls_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Passing, match="gave no answer: Connection refused"):
        deliver(to(port, "ops@lab.example"), said(to(port)))
    assert isinstance(mail._fault(mail.Server("m", 1, "tls"), ssl.SSLError("x")), Refused)


# -- episodes and jobs, over restarts ----------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Box:
    """A notifier whose targets are functions, and what it was told."""

    def __init__(self, place: Path, *targets: Target) -> None:
        self.targets, self.place = targets, place / "notices"
        self.board, self.clock, self.log = StatusBoard(), Clock(), Lines()
        self.taken: list[tuple[str, str]] = []
        self.refusing: set[str] = set()
        self.changed = threading.Condition()
        self.tries = 0
        self.notifier = self.fresh()

    def fresh(self) -> Notifier:
        self.notifier = Notifier(
            *(self.targets, "box", self.place, self.board, self.log, self.send, self.clock)
        )
        return self.notifier

    def send(self, target: Target, sent: Message) -> None:
        self.tries += 1
        if target.name in self.refusing or sent.notice.user in self.refusing:
            raise Refused("it is shut")
        if sent.notice.user == "odd":
            raise ArithmeticError("a bug")
        self.taken.append((target.name, sent.title))

    def shows(self, *conditions: Condition) -> None:
        rows = [
            {"code": one.code, "severity": one.severity, "pool": one.pool, "slots": list(one.slots),
             "text": one.text, "fix": one.fix}
            for one in conditions
        ]  # fmt: skip
        self.board.publish({"health": rows})


class Lines(Log):
    def __init__(self) -> None:
        super().__init__(stream=StringIO())
        self.events: list[str] = []

    def event(self, name: str, message: str = "", **fields: object) -> None:
        self.events.append(f"{name} {message}")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LOOK", 0.01), ("QUIET", 0.05), ("AGAIN", 0.02), ("AGAIN_MOST", 0.02)):
        monkeypatch.setattr(notifier, name, value)


LOW = Condition("disk.low", Severity.WARNING, "/ has 1 GiB left", "df -h /")


def test_two_messages_an_episode_also_where_the_manager_is_restarted_in_it(
    tmp_path: Path, until: Until, hurried: None
) -> None:
    box = Box(tmp_path, Target("ops", webhook="http://x"))
    box.notifier.start()
    box.shows(LOW)
    until(lambda: box.notifier._episodes.open)
    box.clock.now += STANDS
    until(lambda: box.taken)
    until((box.place / "episodes.json").exists)
    box.notifier.stop()
    box.fresh().start()
    box.shows(LOW)
    until(lambda: box.notifier._episodes.open)
    box.shows()
    until(lambda: any(one.gone for one in box.notifier._episodes.open.values()))
    box.clock.now += 400
    until(lambda: len(box.taken) == 2)
    box.notifier.stop()
    assert box.taken == [("ops", "box: disk.low"), ("ops", "box: disk.low is over")]


def ended(job: str, state: JobState = JobState.FAILED) -> JobEnded:
    return JobEnded(1000.0, JobId(job), state, Cause.EXIT, 3, "it ended with exit code 3")


def test_who_is_shut_costs_only_himself_is_told_later_and_is_a_condition(
    tmp_path: Path, until: Until, hurried: None
) -> None:
    shut = Target("shut", webhook="http://x", jobs="failed")
    box = Box(tmp_path, shut, Target("well", webhook="http://x", jobs="all"))
    box.refusing.add("shut")
    box.notifier.start()
    job = Job(JobId("j1"), PoolName("gpu"), 1, 900.0, started=950.0, owner="anna", name="train")
    memory = Memory(jobs={job.id: job})
    box.notifier.recorded([ended("j1"), ended("j2", JobState.SUCCEEDED)], memory)
    until(lambda: len(box.taken) == 2)
    assert box.taken[0] == ("well", "box, pool gpu: job j1 failed")
    until(lambda: box.tries > 4)
    assert box.notifier.conditions() == []
    box.clock.now += notifier.TELLING
    (told,) = box.notifier.conditions()
    assert (told.code, told.fix) == ("notify.failing", "sudo mayfly notify test shut")
    assert "it is shut" in told.text
    until((box.place / "to-shut.json").exists)
    box.notifier.stop()
    box.refusing.clear()
    box.fresh().start()  # the next manager
    until(lambda: ("shut", "box, pool gpu: job j1 failed") in box.taken)
    box.notifier.stop()
    assert box.log.events == ["notice.delayed it is shut"]


def test_what_nobody_took_for_hours_is_dropped_and_so_is_the_oldest_of_too_many(
    tmp_path: Path, until: Until, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "KEPT", 2)
    box = Box(tmp_path, Target("shut", webhook="http://x", jobs="all"))
    box.refusing.add("shut")
    box.notifier.start()
    for number in range(4):
        box.notifier.recorded([ended(f"j{number}")], Memory())
    until(lambda: len([one for one in box.log.events if one.startswith("notice.dropped")]) == 2)
    box.clock.now += notifier.OLD + 1
    until(lambda: len([one for one in box.log.events if one.startswith("notice.dropped")]) == 4)
    box.notifier.stop()
    assert box.taken == []


def test_one_owner_whose_mail_nobody_takes_keeps_back_nobody_elses(
    tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "AGAIN", 600.0)
    box = Box(tmp_path, Target("owners", webhook="http://x", jobs="all"))
    box.refusing.add("root")
    owners = {"j1": "root", "j2": "root", "j3": "odd", "j4": "anna"}
    jobs = {
        JobId(name): Job(JobId(name), PoolName("gpu"), 1, 900.0, owner=owner)
        for name, owner in owners.items()
    }
    for name in owners:
        box.notifier.recorded([ended(name)], Memory(jobs=jobs))
    box.notifier.start()
    until(lambda: box.taken)
    box.notifier.stop()
    assert box.taken == [("owners", "box, pool gpu: job j4 failed")]
    assert any(one.startswith("notice.dropped job j3") for one in box.log.events)
    kept = json.loads((box.place / "to-owners.json").read_text())
    assert [row["job"] for row in kept] == ["j1", "j2"], "they are told later"


def test_of_too_many_it_is_jobs_ends_that_are_dropped(
    tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "KEPT", 2)
    box = Box(tmp_path, Target("shut", webhook="http://x", jobs="all"))
    (post,) = box.notifier._posts
    box.place.mkdir()
    post.put(BEGAN)
    for name in ("j1", "j2", "j3"):
        post.put(of_job(ended(name), Memory(), "box"))
    post.stop()
    kept = json.loads((box.place / "to-shut.json").read_text())
    assert [(row["code"], row["job"]) for row in kept] == [("slot.held", ""), ("", "j3")]


def test_what_was_dropped_for_its_age_is_no_condition(
    tmp_path: Path, until: Until, hurried: None
) -> None:
    box = Box(tmp_path, Target("shut", webhook="http://x", jobs="all"))
    box.refusing.add("shut")
    box.notifier.start()
    box.notifier.recorded([ended("j1")], Memory())
    until(lambda: box.tries)
    box.clock.now += notifier.OLD + 1
    until(lambda: any(one.startswith("notice.dropped") for one in box.log.events))
    until(lambda: box.notifier.conditions() == [])
    box.notifier.stop()


def test_a_jobs_end_says_what_it_was_and_why() -> None:
    job = Job(JobId("j1"), PoolName("gpu"), 1, 900.0, started=950.0, owner="anna", name="train")
    told = of_job(ended("j1"), Memory(jobs={job.id: job}), "box")
    assert (told.user, told.pool, told.seconds, told.exit_code) == ("anna", "gpu", 50.0, 3)
    assert told.text == "j1 (train) failed: it ended with exit code 3"
    assert told.fix == "mayfly logs j1"


def test_a_damaged_file_of_a_former_manager_is_no_end(
    tmp_path: Path, until: Until, hurried: None
) -> None:
    box = Box(tmp_path, Target("ops", webhook="http://x", jobs="all"))
    box.place.mkdir()
    (box.place / "episodes.json").write_text('[{"notice": 3}, {"gone": null}, 7')
    (box.place / "to-ops.json").write_text('[{"kind": "nix"}, {"nix": 1}, 5]')
    box.notifier.start()
    box.notifier.recorded([ended("j1")], Memory())
    until(lambda: box.taken)
    box.notifier.stop()


def test_without_targets_nothing_is_begun(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.notifier.start()
    box.notifier.recorded([ended("j1")], Memory())
    assert not box.place.exists()
    box.notifier.stop()
    assert notice_sending.SCHEMA
