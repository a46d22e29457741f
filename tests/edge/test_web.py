"""The services' HTTP: each way in which a call goes wrong becomes one of our faults, in one sentence."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from mayfly.edge import exchange
from mayfly.edge import web as web_module
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import Garbage, Pages, items, parsed
from mayfly.edge.web import Budget, Moved, Web, clean, origin
from tests.fakes.http import Answer, Call, Fake, Fault
from tests.waiting import rest

PASSWORD = "hunter2-and-some-more-letters"


class Service(Fake):
    """One thing, with an entity tag."""

    def __init__(self) -> None:
        super().__init__()
        self.value = 1
        self.more: dict[str, str] = {}
        self.route("GET", "/thing", self.thing)
        self.route("POST", "/thing", self.make)
        self.moved_to = ""

    def before(self, call: Call) -> Answer | None:
        if self.moved_to:
            return Answer(301, None, {"Location": self.moved_to})
        return None

    def thing(self, call: Call) -> Answer:
        tag = f'"{self.value}"'
        if call.headers.get("if-none-match") == tag:
            return Answer(304, None, {"ETag": tag})
        return Answer(200, {"value": self.value, **self.more}, {"ETag": tag})

    def make(self, call: Call) -> Answer:
        self.value += 1
        return Answer(201, {"value": self.value})


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as fake:
        yield fake


def web(service: Service, **more: object) -> Web:
    def authorise() -> dict[str, Secret]:
        return {"Authorization": Secret(f"Bearer {PASSWORD}")}

    return Web(service.url, "Things", 'pool "gpu"', authorise=authorise, **more)  # type: ignore[arg-type]


def get(client: Web, **more: object) -> object:
    return client.call("GET", "thing", "look at the thing", **more).body  # type: ignore[arg-type]


def test_a_call_carries_our_name_and_the_credentials(service: Service) -> None:
    assert get(web(service)) == {"value": 1}
    (call,) = service.calls
    assert call.headers["authorization"] == f"Bearer {PASSWORD}"
    assert call.headers["user-agent"].startswith("mayfly/")


@pytest.mark.parametrize("token", ["one\ntwo", "naïve-€"])
def test_a_token_that_no_header_takes_is_told_without_it_and_not_sent(
    service: Service, token: str
) -> None:
    def authorise() -> dict[str, Secret]:
        return {"Authorization": Secret(f"Bearer {token}")}

    client = Web(service.url, "Things", 'pool "gpu"', authorise=authorise)
    with pytest.raises(Refused, match='the token of pool "gpu" has a line break') as caught:
        get(client)
    assert token not in str(caught.value)
    assert service.calls == []
    assert client.calls() == {("look at the thing", "unsent"): 1}


def test_a_netrc_of_the_host_does_not_speak_for_us(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    get(web(service))
    assert service.calls[0].headers["authorization"] == f"Bearer {PASSWORD}"


@pytest.mark.parametrize(
    ("status", "family", "words"),
    [
        (400, Refused, "400"),
        (401, Refused, "token is wrong or has expired"),
        (403, Refused, "lacks a permission"),
        (404, Refused, "check `url`, and the token"),
        (407, Refused, "proxy wants a login"),
        (408, Passing, "408"),
        (409, Refused, "409"),
        (422, Refused, "422"),
        (500, Passing, "500"),
        (503, Passing, "503"),
    ],
)
def test_a_status_becomes_a_fault_that_names_service_question_and_pool(
    service: Service, status: int, family: type[Exception], words: str
) -> None:
    service.fail("GET", "/thing", Fault(status=status, body={"message": "no\nsuch luck"}))
    with pytest.raises(family, match=words) as caught:
        get(web(service))
    sentence = str(caught.value)
    for part in ("Things at 127.0.0.1", "look at the thing", 'pool "gpu"', "no such luck"):
        assert part in sentence
    assert "\n" not in sentence


def test_an_answer_that_only_informs_is_asked_again(service: Service) -> None:
    service.fail("POST", "/thing", Fault(status=103))
    with pytest.raises(Passing, match="answered 103"):
        web(service).call("POST", "thing", "make a thing", body={})


@pytest.mark.parametrize("scheme", ["", "Bearer ", "Basic "])
@pytest.mark.parametrize("token", ["plainlookingword", "pa.ss~wo-rd"])
def test_what_was_sent_is_not_told_whatever_it_looks_like(
    service: Service, scheme: str, token: str
) -> None:
    value = base64.b64encode(f":{token}".encode()).decode() if scheme == "Basic " else token
    client = Web(
        service.url,
        "Things",
        'pool "gpu"',
        authorise=lambda: {"PRIVATE-TOKEN": Secret(f"{scheme}{value}")},
    )
    body = {"message": f"no {value} or {token} here"}
    service.fail("GET", "/thing", Fault(status=401, body=body))
    with pytest.raises(Refused, match=r"no \*\*\*\* or \*\*\*\* here"):
        get(client)


@pytest.mark.parametrize("where", ["body", "form"])
def test_nor_is_a_secret_of_what_is_sent(service: Service, where: str) -> None:
    """A registration token of Gitea's looks like any hash of a commit."""
    token = "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b"
    service.fail("POST", "/thing", Fault(status=400, body={"message": f"{token} is not known"}))
    sent: Any = {where: {"token": Secret(token), "name": "x"}}
    with pytest.raises(Refused, match=r"\*\*\*\* is not known"):
        web(service).call("POST", "thing", "make a thing", **sent)
    assert token in service.calls[-1].content.decode()


def test_no_secret_is_said_even_where_the_service_repeats_it(service: Service) -> None:
    body = {"message": "bad token ghp_abcdefgh1234 and eyJhbGciOi.eyJpc3MiOi.c2ln and " + "k" * 60}
    service.fail("GET", "/thing", Fault(status=401, body=body))
    with pytest.raises(Refused) as caught:
        get(web(service))
    for secret in ("abcdefgh1234", "eyJhbG", "kkkkkk", PASSWORD):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}, 9),
        ({}, 60),
    ],
)
def test_a_429_is_obeyed_before_any_other_call(
    service: Service, headers: dict[str, str], wait: float
) -> None:
    service.fail("GET", "/thing", Fault(status=429, headers=headers))
    client, began = web(service), time.monotonic()
    for _ in range(3):
        with pytest.raises(Passing, match="rate limit") as caught:
            get(client)
        assert caught.value.retry_after == rest(wait, began)
    assert len(service.calls) == 1
    assert client.calls() == {("look at the thing", "429"): 1, ("look at the thing", "unsent"): 2}


def test_a_wish_to_be_left_alone_beside_a_good_answer_is_obeyed_too(service: Service) -> None:
    class Slow(Service):
        def after(self, call: Call, answer: Answer) -> Answer:
            answer.headers["Retry-After"] = "20"
            return answer

    with Slow() as slow:
        client, began = web(slow), time.monotonic()
        assert get(client) == {"value": 1}
        with pytest.raises(Passing) as caught:
            get(client)
        assert caught.value.retry_after == rest(20, began)


def test_a_get_whose_connection_broke_is_made_once_more_and_a_post_is_not(service: Service) -> None:
    client = web(service)
    assert get(client) == {"value": 1}
    service.fail("GET", "/thing", Fault(lost="before"))
    assert get(client) == {"value": 1}
    service.fail("POST", "/thing", Fault(lost="after"))
    client = web(service)
    with pytest.raises(Passing, match="gave no answer"):
        client.call("POST", "thing", "make a thing", body={"a": 1})
    assert service.count("POST", "/thing") == 1
    assert service.value == 2
    assert client.calls() == {("make a thing", "lost"): 1}


def test_a_get_is_not_made_twice_where_no_connection_has_been_good_since(service: Service) -> None:
    client = web(service)
    assert get(client) == {"value": 1}
    service.fail("GET", "/thing", Fault(lost="before", times=None))
    for number in (2, 3, 4):  # the first may have met a connection that was closed meanwhile
        with pytest.raises(Passing, match="gave no answer"):
            get(client)
        assert client.calls()["look at the thing", "lost"] == number


def test_a_service_that_does_not_answer_is_given_up(service: Service) -> None:
    service.fail("GET", "/thing", Fault(slow=30.0))
    began = time.monotonic()
    with pytest.raises(Passing, match="timed out"):
        get(web(service), timeout=0.2)
    assert (
        time.monotonic() - began < 20
    )  # as much as a crowded machine takes, and less than the answer


def test_a_service_that_is_not_there_is_a_passing_thing_without_its_address_in_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Web(f"http://127.0.0.1:{port}", "Things", "pool", authorise=dict)
    with pytest.raises(Passing, match="Connection refused"):
        client.call("GET", "thing?token=abc", "look")


def test_a_service_that_speaks_no_tls_is_told_so_and_not_for_a_bad_certificate(
    service: Service,
) -> None:
    client = Web(service.url.replace("http:", "https:"), "Things", "pool", authorise=dict)
    with pytest.raises(Refused, match="speaks no TLS"):
        client.call("GET", "thing", "look")


def test_a_connection_that_ends_in_the_midst_of_tls_is_a_passing_thing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = Web(address, "Things", "pool", authorise=dict)
        with pytest.raises(Passing, match="gave no answer"):
            client.call("GET", "thing", "look")
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"  <!doctype html><p>hello"])
def test_a_web_page_instead_of_data_is_told_as_such(service: Service, body: bytes) -> None:
    service.fail("GET", "/thing", Fault(garbage=body))
    with pytest.raises(Refused, match="web page instead of data"):
        get(web(service))


def test_a_page_with_a_503_is_only_an_outage(service: Service) -> None:
    service.fail("GET", "/thing", Fault(status=503, body=b"<html>down</html>"))
    with pytest.raises(Passing, match="503"):
        get(web(service))


def test_half_an_answer_is_a_passing_thing(service: Service) -> None:
    service.fail("GET", "/thing", Fault(garbage=b'{"value": '))
    with pytest.raises(Passing, match="unreadable"):
        get(web(service))


def test_a_redirection_to_a_login_is_told_and_not_followed(service: Service) -> None:
    service.moved_to = "https://login.example.org/oauth2/authorize?x=1"
    with pytest.raises(Refused, match=r"wants a login at login.example.org"):
        get(web(service))
    assert len(service.calls) == 1


def test_a_redirection_within_the_service_says_where_it_went(service: Service) -> None:
    service.moved_to = "/things/12"
    with pytest.raises(Moved) as caught:
        get(web(service))
    assert caught.value.location == f"{service.url}/things/12"


def test_what_has_not_changed_is_answered_from_what_is_known(service: Service) -> None:
    client = web(service)
    first = client.call("GET", "thing", "look", conditional=True)
    again = client.call("GET", "thing", "look", conditional=True)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.body == {"value": 1}
    service.value = 5
    assert client.call("GET", "thing", "look", conditional=True).body == {"value": 5}
    assert client.calls() == {("look", "200"): 2, ("look", "304"): 1}


def test_the_services_clock_is_read_from_its_answers(service: Service) -> None:
    service.skew = 300.0
    client = web(service)
    assert client.skew is None
    get(client)
    assert client.skew == pytest.approx(300, abs=2)


def test_an_address_of_another_host_is_never_sent_our_token(service: Service) -> None:
    client = web(service)
    with pytest.raises(Refused, match="another place"):
        client.call("GET", "http://127.0.0.2:1/steal", "look")
    assert service.calls == []


def test_a_proxy_of_the_pool_is_used_and_its_exceptions_kept(service: Service) -> None:
    direct = web(service, proxy="http://127.0.0.1:1", no_proxy="127.0.0.1")
    assert get(direct) == {"value": 1}
    with pytest.raises(Passing):
        get(web(service, proxy="http://127.0.0.1:1"))


def test_certificates_that_cannot_be_read_are_told_by_their_file() -> None:
    client = Web("https://127.0.0.1:1", "Things", "pool", authorise=dict, ca="/nonexistent.pem")
    with pytest.raises(Refused, match=r"/nonexistent.pem"):
        client.call("GET", "thing", "look")


def test_calls_from_many_threads_are_all_counted(service: Service) -> None:
    client = web(service)
    threads = [threading.Thread(target=get, args=(client,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.calls() == {("look at the thing", "200"): 16}


def test_a_budget_gives_its_burst_and_then_its_rate() -> None:
    now = [0.0]
    budget = Budget(3600, burst=3, clock=lambda: now[0])
    assert [budget.take() for _ in range(3)] == [0, 0, 0]
    assert budget.take() == pytest.approx(1.0)
    now[0] += 1.0
    assert budget.take() == 0
    now[0] += 1000.0
    assert [budget.take() for _ in range(4)] == [0, 0, 0, pytest.approx(1.0)]


def test_foreign_words_are_one_bounded_line_without_control_characters() -> None:
    assert clean("a\nb\x1b[31m\tc") == "a b [31m c"
    assert len(clean("word " * 500)) <= 200
    # What stands between backquotes is a line of ours, and becomes the `fix:` of a condition.
    assert clean("run `sudo make it so`") == "run 'sudo make it so'"


HEAD = b"HTTP/1.1 200 OK\r\n"


DRIPS = {
    "head": [HEAD, *[b"X-A: b\r\n"] * 90],
    "informational": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 90,
    "length": [HEAD + b"Content-Length: 90\r\n\r\n", *[b" "] * 90],
    "until the end": [HEAD + b"Connection: close\r\n\r\n", *[b" "] * 90],
    "chunked": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 90],
}


def test_what_drips_is_over_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes well within its time; the whole would take 18 s and is given 3."""
    monkeypatch.setattr(exchange, "CALL_TIMEOUT", 3.0)
    over = threading.Event()

    def drip(server: socket.socket, pieces: list[bytes]) -> None:
        server.settimeout(10)  # the time may be over before anybody connects
        with suppress(OSError), server.accept()[0] as conn:
            for piece in pieces:
                conn.sendall(piece)
                over.wait(0.2)

    def asked(server: socket.socket) -> str:
        client = Web(f"http://127.0.0.1:{server.getsockname()[1]}", "Things", 'pool "gpu"')
        with pytest.raises(Passing) as caught:
            client.call("POST", "/thing", "make a thing", timeout=3.0)
        return str(caught.value)

    with ExitStack() as held, ThreadPoolExecutor(2 * len(DRIPS)) as threads:
        held.callback(over.set)
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in DRIPS]
        for server, pieces in zip(servers, DRIPS.values(), strict=True):
            threads.submit(drip, server, pieces)
        began = time.monotonic()
        said = dict(zip(DRIPS, threads.map(asked, servers), strict=True))
        assert time.monotonic() - began < 15
        over.set()
    assert {name: words for name, words in said.items() if "did not end" not in words} == {}


def test_a_name_with_many_addresses_costs_no_more_time_than_there_is() -> None:
    ends = time.monotonic() + 0.5
    with ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        for _ in range(3):  # who comes after these is not heard
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            exchange.connected([address] * 9, lambda: ends - time.monotonic())
        assert time.monotonic() - began < 5  # each alone would take 10
    with socket.create_server(("127.0.0.1", 0)) as server:
        shut = socket.create_server(("127.0.0.1", 0))
        nobody = shut.getsockname()
        shut.close()
        with exchange.connected([nobody, server.getsockname()], lambda: 30.0) as made:
            assert made.getpeername() == server.getsockname()
        with pytest.raises(ConnectionRefusedError):
            exchange.connected([nobody], lambda: 30.0)


def test_a_token_goes_to_no_other_scheme_or_port(service: Service) -> None:
    client = Web("https://things.test/api", "Things", 'pool "gpu"')
    for address in (
        "http://things.test/api?page=2",
        "https://things.test:8443/api?page=2",
        "https://things.test@other.test/api?page=2",
        "https://[things.test/api",
    ):
        with pytest.raises(Refused, match="another place"):
            client.call("GET", address, "list the things")
    assert origin("https://Things.test/") == origin("https://things.test:443/x?y")


@pytest.mark.parametrize(
    "content",
    [
        *(b"[" * 100_000, b'{"a":' * 100_000, b'"\\ud800"', b"1" * 5_000, b"\xff\xfe", b"NaN0"),
        b"[%b{}]" % (b"{}," * 50_000),  # takes 20 times the room
    ],
)
def test_what_no_text_can_be_is_unreadable(content: bytes) -> None:
    assert isinstance(parsed(content), Garbage)


def test_a_list_without_end_is_not_taken() -> None:
    with pytest.raises(Passing, match="list of 2001 entries"):
        items([{}] * 2001)


@pytest.mark.parametrize(
    ("content", "entries", "pages", "told"),
    [
        (b"", 1, 501, "500 pages"),
        (b"", 2000, 6, "10000 entries"),
        (b"", 10_001, 1, "10000 entries"),
        (b" " * 1024 * 1024, 1, 9, "8388608 bytes"),
    ],
    ids=["pages", "entries", "entries of a page", "bytes"],
)
def test_a_list_that_is_too_long_over_all_of_its_pages_needs_a_person(
    content: bytes, entries: int, pages: int, told: str
) -> None:
    taken = Pages()
    listed = ([{"id": page * entries + at} for at in range(entries)] for page in range(pages))
    for _ in range(pages - 1):
        taken.entries(content, next(listed))
    with pytest.raises(Refused, match=f"more than {told}, too many to be read: point the pool at"):
        taken.entries(content, next(listed))


def test_a_list_of_many_small_pages_is_read_as_far_as_its_entries_may_go() -> None:
    taken = Pages()
    read = [taken.entries(b"", [{"id": 20 * page + at} for at in range(20)]) for page in range(500)]
    assert sum(len(page) for page in read) == 10_000


@pytest.mark.parametrize("entries", [[], [{"id": 1}], [{"id": []}], [{}]])
def test_a_list_that_goes_in_circles_is_asked_for_again(entries: list[object]) -> None:
    taken = Pages()
    for _ in range(100):
        taken.entries(b"", entries)
    with pytest.raises(Passing, match="100 pages bring nothing new; it is asked again"):
        [taken.entries(b"", entries) for _ in range(2)]


def test_what_is_kept_is_bounded_in_bytes(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "REMEMBERED", 100)
    service.more = {"padding": "x" * 60}
    client = web(service)
    for page in ("1", "2"):
        client.call("GET", "/thing", "look", query={"page": page}, conditional=True)
    again = [
        client.call("GET", "/thing", "look", query={"page": page}, conditional=True).repeated
        for page in ("2", "1")
    ]
    assert again == [True, False]
