"""``init`` against each service: it offers what it finds, says what is refused, writes what works."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.app import main
from mayfly.edge.provider_keys import secrets_of
from mayfly.providers.configuration import load
from tests.cli.conftest import Ran, plain
from tests.fakes.authority import made as made_authority
from tests.fakes.azure import FakeAzure
from tests.fakes.gitea import FakeGitea
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Answer, Call, Fake, Fault
from tests.harness import disk, full
from tests.providers.test_github_contract import make_key, public_numbers
from tests.terminal import Terminal

OnTerminal = Callable[..., Terminal]
RIGHTS = ("create_runner", "manage_runner", "read_api")


class Bench:
    """A service, a token that may do what is needed, and how a pool of it is asked for."""

    def __init__(self, provider: str, fake: Any, token: str, url: str, *words: str) -> None:
        self.provider, self.fake, self.token, self.url = provider, fake, token, url
        self.words = words  # that choose the place

    def typed(self, *words: str) -> tuple[str, ...]:
        """The options of a pool of it."""
        first = ("--provider", self.provider, "--plain-http", "--url", self.url)
        return (*first, *self.words, "--token-file", "-", *words)


def _bench(provider: str, stack: ExitStack) -> Bench:
    if provider == "github":
        github = stack.enter_context(FakeGitHub())
        return Bench("github", github, "ghp_good", f"{github.url}/acme", "--agent-pool", "gpu")
    if provider == "azure":
        azure = stack.enter_context(FakeAzure())
        return Bench("azure", azure, "pat-good", azure.organisation, "--agent-pool", "gpu")
    if provider == "gitlab":
        gitlab = stack.enter_context(FakeGitLab())
        token = gitlab.person(*RIGHTS)
        return Bench("gitlab", gitlab, token, gitlab.url, "--scope", "group:10")
    gitea = stack.enter_context(FakeGitea())
    token = gitea.person("write:organization")
    return Bench("gitea", gitea, token, gitea.url, "--scope", "org:ourlab")


SERVICES = ("azure", "gitea", "github", "gitlab")


@pytest.fixture(params=SERVICES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield _bench(request.param, stack)


@pytest.fixture
def github() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield _bench("github", stack)


Init = Callable[..., Ran]


@pytest.fixture
def init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Init:
    """``init`` with a configuration of its own, and no images built; in this process, for there are many."""

    def run(*words: str, stdin: str = "", **env: str) -> Ran:
        typed_in = tmp_path / "stdin"
        typed_in.write_text(stdin)
        path = tmp_path / "etc" / "config.toml"
        arguments = ["mayfly", "init", "--no-images", "--config", str(path), *words]
        with typed_in.open() as file, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", file)
            patched.setattr(sys, "argv", arguments)
            for name, value in env.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        shown = capsys.readouterr()
        return Ran(int(ended.value.code or 0), shown.out, shown.err)

    return run


def config(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "config.toml"


def nothing(tmp_path: Path) -> bool:
    return not (tmp_path / "etc").exists() or not [*(tmp_path / "etc").rglob("*.*")]


def test_what_works_is_written_with_the_secret_in_a_file_of_roots_and_a_second_time_changes_nothing(
    bench: Bench, init: Init, tmp_path: Path
) -> None:
    ran = init(*bench.typed("--name", "ci", "--slots", "3"), stdin=bench.token)
    assert ran.code == 0, ran.err
    (pool,) = load(config(tmp_path), environ={}).config.pools
    assert (pool.name, pool.provider, pool.slots) == ("ci", bench.provider, 3)
    stored = tmp_path / "etc" / "credentials" / "ci-token"
    assert [*secrets_of(pool.settings)] == [{"file": str(stored)}]
    assert (stored.read_text(), stored.stat().st_mode & 0o777) == (f"{bench.token}\n", 0o600)
    assert stored.parent.stat().st_mode & 0o777 == 0o700
    assert bench.token not in config(tmp_path).read_text() + ran.out + ran.err
    left = bench.fake.agents if bench.provider == "azure" else bench.fake.runners
    assert left == {}, "looking leaves nothing at the service"
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "etc").rglob("*")}
    again = init(*bench.typed("--name", "ci", "--slots", "3"), stdin=bench.token)
    assert again.code == 0, again.err
    assert "is written" not in again.err
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "etc").rglob("*")} == before


def test_with_a_dry_run_it_shows_the_files_and_writes_none(
    bench: Bench, init: Init, tmp_path: Path
) -> None:
    calls = len(bench.fake.calls)
    ran = init(*bench.typed("--dry-run"), stdin=bench.token)
    assert (ran.code, nothing(tmp_path)) == (0, True), ran.err
    assert tomllib.loads(ran.out)["pool"][0]["provider"] == bench.provider
    assert "would write" in ran.err
    assert bench.token not in ran.out + ran.err
    made = [c for c in bench.fake.calls[calls:] if c.method == "POST" and "runners" in c.path]
    assert [call.path for call in made if call.path.endswith("/user/runners")] == []


# -- what is refused -------------------------------------------------------------------------------------


def refused(ran: Ran, tmp_path: Path, *words: str) -> None:
    """One sentence with those words, and nothing written."""
    assert ran.code == 1, ran.err
    sentence = ran.err.strip().splitlines()[-1]
    for word in words:
        assert word in sentence, sentence
    assert sentence.endswith("nothing is written")
    assert nothing(tmp_path)
    assert "Traceback" not in ran.err


def test_a_wrong_token_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    refused(init(*bench.typed(), stdin="nobody-knows-this"), tmp_path, "401", "token is wrong")


def reader(fake: FakeGitHub) -> str:
    fake.tokens["ghp_reader"] = Token("read")
    return "ghp_reader"


LACKING: dict[str, tuple[Callable[[Any], str], str]] = {
    "azure": (lambda fake: "pat-reader", "Agent Pools (Read & manage)"),
    "github": (reader, "Self-hosted runners: Read and write"),
    "gitlab": (lambda fake: fake.person("read_api"), "create_runner and manage_runner"),
    "gitea": (lambda fake: fake.person("read:organization"), "write:organization"),
}


def test_a_token_without_the_right_is_told_which(bench: Bench, init: Init, tmp_path: Path) -> None:
    make, right = LACKING[bench.provider]
    refused(init(*bench.typed(), stdin=make(bench.fake)), tmp_path, right)


@pytest.mark.parametrize(
    ("place", "right"), [("acme/app", "Administration"), ("enterprises/works", "classic")]
)
def test_what_a_token_lacks_at_github_is_that_of_its_place(
    github: Bench, init: Init, tmp_path: Path, place: str, right: str
) -> None:
    github.url, github.words = f"{github.fake.url}/{place}", ()
    refused(init(*github.typed(), stdin=reader(github.fake)), tmp_path, right)


def test_who_is_no_owner_at_gitlab_is_told_so_before_anything_is_written(
    init: Init, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        bench = _bench("gitlab", stack)
        token = bench.fake.person(*RIGHTS, owns=False)
        refused(init(*bench.typed(), stdin=token), tmp_path, "an Owner of the group")


UNKNOWN = {
    "azure": ("--agent-pool", "nope", 'no agent pool named "nope"'),
    "github": ("--agent-pool", "nope", 'no runner group "nope"'),
    "gitlab": ("--scope", "group:99", "group:99"),
    "gitea": ("--scope", "org:nope", "org:nope"),
}


def test_an_unknown_pool_group_or_place_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    option, value, sentence = UNKNOWN[bench.provider]
    bench.words = (option, value)
    ran = init(*bench.typed(), stdin=bench.token)
    if bench.provider == "gitea":  # which says of it what it says of any that one may not see
        refused(ran, tmp_path, "404", "check `scope` or `url`")
    else:
        refused(ran, tmp_path, sentence)


def test_a_service_that_cannot_be_reached_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    bench.fake.stop()
    ran = init(*bench.typed(), stdin=bench.token)
    refused(ran, tmp_path, "gave no answer", "DNS, a firewall, a proxy")
    assert "asked again" not in ran.err


def test_a_service_in_trouble_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    bench.fake.fail("", "/", Fault(status=503, times=None))
    refused(init(*bench.typed(), stdin=bench.token), tmp_path, "503", "try again")


def test_a_redirect_to_a_login_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    headers = {"Location": f"{bench.fake.url}/login?from=here"}
    bench.fake.fail("", "/", Fault(status=302, headers=headers, times=None))
    refused(init(*bench.typed(), stdin=bench.token), tmp_path, "wants a login")


def test_garbage_is_told(bench: Bench, init: Init, tmp_path: Path) -> None:
    bench.fake.fail("", "/", Fault(status=200, body=b"\0\1\2", times=None))
    refused(init(*bench.typed(), stdin=bench.token), tmp_path, "unreadable")


class Proxy(Fake):
    """A proxy that lets nobody through."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.says = (status, body)

    def missing(self, call: Call) -> Answer:
        del call
        return Answer(*self.says)


@pytest.mark.parametrize(
    ("status", "words"),
    [(200, "a sign-in page or the proxy http://"), (407, "the proxy wants a login")],
)
@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_proxy_in_between_is_told(
    bench: Bench, init: Init, tmp_path: Path, status: int, words: str, way: str
) -> None:
    with Proxy(status, b"<html>who are you?</html>" if status == 200 else b"") as proxy:
        if way == "option":
            ran = init(*bench.typed("--proxy", proxy.url), stdin=bench.token)
        else:
            ran = init(*bench.typed(), stdin=bench.token, http_proxy=proxy.url, no_proxy="")
        assert proxy.calls
    refused(ran, tmp_path, words)


def test_a_proxy_of_the_environment_is_written_down_for_the_manager_that_has_none(
    github: Bench, init: Init, tmp_path: Path
) -> None:
    class Through(Fake):
        """A proxy that hands everything to the service itself."""

        def missing(self, call: Call) -> Answer:
            answer: Answer = github.fake.answer(call)
            return answer

    with Through() as proxy:
        ran = init(*github.typed(), stdin=github.token, http_proxy=proxy.url, no_proxy="")
        assert ran.code == 0, ran.err
    assert load(config(tmp_path), environ={}).config.pools[0].proxy == proxy.url


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A private authority, and what a server with a certificate of it takes."""
    pem = tmp_path_factory.mktemp("authority") / "ca.pem"
    return pem, made_authority(pem)


def secured(bench: Bench, authority: tuple[Path, ssl.SSLContext]) -> Path:
    """The service answers by TLS, with a certificate of that authority; the authority's file."""
    pem, context = authority
    listener = socket.create_server(("127.0.0.1", 0))
    site = f"https://127.0.0.1:{listener.getsockname()[1]}"
    bench.url = bench.url.replace(bench.fake.url, site)
    if bench.provider == "gitea":
        bench.fake.root_url = site
    bench.fake.start_on(context.wrap_socket(listener, server_side=True))
    return pem


@pytest.fixture
def private(authority: tuple[Path, ssl.SSLContext], github: Bench) -> Path:
    """GitHub answers by TLS, with a certificate of its own authority: that."""
    return secured(github, authority)


def test_a_private_authority_is_told_and_taken_by_ca(
    bench: Bench, init: Init, tmp_path: Path, authority: tuple[Path, ssl.SSLContext]
) -> None:
    private = secured(bench, authority)
    words = ("--provider", bench.provider, "--url", bench.url, *bench.words, "--token-file", "-")
    refused(init(*words, stdin=bench.token), tmp_path, "certificate", "--ca FILE")
    assert bench.fake.calls == [], "whom nobody trusts is told no token"
    ran = init(*words, "--ca", str(private), stdin=bench.token)
    assert ran.code == 0, ran.err
    assert load(config(tmp_path), environ={}).config.pools[0].ca == str(private)
    assert bench.fake.calls
    stranger = tmp_path / "stranger.pem"
    made_authority(stranger)
    (tmp_path / "etc" / "config.toml").unlink()
    ran = init(*words, "--ca", str(stranger), stdin=bench.token)
    assert ran.code == 1, "another authority is not enough"
    assert "certificate" in ran.err
    assert not config(tmp_path).exists()


def test_a_full_disk_leaves_nothing_half_written(github: Bench, init: Init, tmp_path: Path) -> None:
    place = tmp_path / "etc"
    with disk(place, "64k"), full(place):
        ran = init(*github.typed(), stdin=github.token)
        assert ran.code == 1
        assert "No space left on device" in ran.err
        assert {file.name for file in place.rglob("*") if file.is_file()} == {"filler"}


def test_a_proxy_that_can_be_none_is_told_before_anybody_is_asked(
    github: Bench, init: Init, tmp_path: Path
) -> None:
    ran = init(*github.typed("--proxy", "foo:::bar"), stdin=github.token)
    assert (ran.code, nothing(tmp_path), github.fake.calls) == (2, True, [])
    assert "--proxy: " in ran.err


def test_places_are_offered_with_what_the_option_takes(init: Init) -> None:
    with ExitStack() as stack:
        gitlab = _bench("gitlab", stack)
        gitlab.words = ()
        ran = init(*gitlab.typed(), stdin=gitlab.token)
        assert ran.code == 2
        assert "--scope" in ran.err
        assert "the group ourlab (group:10)" in ran.err


def test_without_a_token_nothing_is_written_unless_that_is_said(
    github: Bench, init: Init, tmp_path: Path
) -> None:
    words = ("--provider", "github", "--plain-http", "--url", github.url)
    ran = init(*words)
    assert (ran.code, nothing(tmp_path)) == (2, True)
    assert "--token-file FILE" in ran.err
    assert init(*words, "--unchecked").code == 0
    assert github.fake.calls == []


def test_a_token_s_file_that_others_read_is_told(github: Bench, init: Init, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("ghp_good")
    file.chmod(0o644)
    words = ("--provider", "github", "--plain-http", "--url", github.url, "--token-file", str(file))
    ran = init(*words)
    assert (ran.code, nothing(tmp_path)) == (1, True)
    assert "can be read by others" in ran.err
    file.chmod(0o600)
    assert init(*words).code == 0
    settings = load(config(tmp_path), environ={}).config.pools[0].settings
    assert [*secrets_of(settings)] == [{"file": str(file)}]
    assert not (tmp_path / "etc" / "credentials").exists()


def test_an_app_is_taken_by_its_id_and_key(github: Bench, init: Init, tmp_path: Path) -> None:
    pem = make_key(tmp_path)
    key = public_numbers(pem)
    github.fake.apps["4711"] = (key.n, key.e)
    github.url, github.words = github.fake.url, ()
    ran = init(*github.typed("--app", "4711"), stdin=pem)
    assert ran.code == 0, ran.err
    settings: Any = load(config(tmp_path), environ={}).config.pools[0].settings
    assert settings.url == f"{github.fake.url}/acme"  # where it is installed
    assert (settings.token, settings.app.id) == (None, "4711")
    stored = tmp_path / "etc" / "credentials" / "github-key"
    assert stored.read_text().strip() == pem.strip()
    github.fake.installed.clear()
    other = init(*github.typed("--app", "4711", "--name", "b"), stdin=pem)
    assert other.code == 1
    assert "is installed nowhere" in other.err


def test_where_nobody_is_asked_github_s_own_choice_of_a_group_is_taken(
    github: Bench, init: Init, tmp_path: Path
) -> None:
    github.words = ()
    github.fake.groups = dict(reversed(github.fake.groups.items()))
    assert init(*github.typed(), stdin=github.token).code == 0
    settings: Any = load(config(tmp_path), environ={}).config.pools[0].settings
    assert settings.runner_group == "Default"


# -- a file that is there ---------------------------------------------------------------------------------


def test_what_somebody_edited_is_not_written_over_and_the_difference_is_shown(
    github: Bench, init: Init, tmp_path: Path
) -> None:
    assert init(*github.typed(), stdin=github.token).code == 0
    edited = config(tmp_path).read_text().replace("slots = 2", "slots = 7")
    config(tmp_path).write_text(edited)
    ran = init(*github.typed(), stdin=github.token)
    assert (ran.code, config(tmp_path).read_text()) == (1, edited)
    assert "-slots = 7" in ran.err
    assert "+slots = 2" in ran.err
    assert "--force" in ran.err
    forced = init(*github.typed("--force"), stdin=github.token)
    assert forced.code == 0
    assert load(config(tmp_path), environ={}).config.pools[0].slots == 2
    assert config(tmp_path).with_name("config.toml.bak").read_text() == edited


def test_another_pool_gets_a_file_of_its_own_and_the_first_stays(
    bench: Bench, init: Init, tmp_path: Path
) -> None:
    assert init("--provider", "local").code == 0
    before = config(tmp_path).read_text()
    ran = init(*bench.typed("--name", "ci"), stdin=bench.token)
    assert ran.code == 0, ran.err
    assert config(tmp_path).read_text() == before
    assert (tmp_path / "etc" / "conf.d" / "ci.toml").exists()
    pools = load(config(tmp_path), environ={}).config.pools
    assert [(pool.name, pool.provider) for pool in pools] == [
        ("local", "local"),
        ("ci", bench.provider),
    ]


def test_answers_come_from_a_file_too_and_nothing_is_said_twice(
    bench: Bench, init: Init, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.toml"
    token = tmp_path / "token"
    token.write_text(bench.token)
    token.chmod(0o600)
    key = bench.words[0].removeprefix("--").replace("-", "_")
    answers.write_text(
        f'provider = "{bench.provider}"\nurl = "{bench.url}"\nplain_http = true\n'
        f'{key} = "{bench.words[1]}"\ntoken_file = "{token}"\nname = "ci"\nslots = 1\n'
    )
    ran = init("--from", str(answers))
    assert ran.code == 0, ran.err
    assert load(config(tmp_path), environ={}).config.pools[0].name == "ci"
    twice = init("--from", str(answers), "--slots", "3")
    assert twice.code == 2
    assert "--slots is said by --from already" in twice.err


# -- on a terminal --------------------------------------------------------------------------------------


def typed(screen: Terminal, *talk: tuple[str, str]) -> None:
    at = 0
    for question, answer in talk:
        screen.until(question, after=at)
        at = screen.seen.index(question, at)
        if answer:
            screen.until(": ", after=at)
            at = screen.seen.index(": ", at)
            screen.type(answer)


def test_a_person_is_told_what_is_wrong_and_asked_again_and_the_token_is_never_seen(
    github: Bench, terminal: OnTerminal, tmp_path: Path
) -> None:
    screen = terminal("init", "--no-images", "--plain-http", "--config", config(tmp_path))
    typed(
        screen,
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.fake.url}\n"),
        ("Its token", "ghp_wrong\n"),
        ("401", ""),
        ("Its URL", "\n"),  # as before
        ("Its token", "ghp_good\n"),
        ("the token is octo's", ""),
        ("acme/app", ""),
        ("Whose runners are they to be", "5\n"),
        ("'5' is none of them", ""),
        ("Whose runners are they to be", "1\n"),
        ("Which runner group [1]", "2\n"),
        ("A name for the pool [github]", "\n"),
        ("How many slots", "00000000199999\n"),
        ("is not a whole number from 1 to 1000", ""),
        ("How many slots", "1\n"),
    )
    code, shown = screen.end()
    assert code == 0, shown
    settings: Any = load(config(tmp_path), environ={}).config.pools[0].settings
    assert (settings.url, settings.runner_group) == (f"{github.fake.url}/acme", "gpu")
    assert "ghp_wrong" not in shown
    assert "ghp_good" not in shown
    assert "Self-hosted runners" in plain(shown)


@pytest.mark.parametrize("question", ["Its URL", "Its token", "A name for the pool"])
def test_an_interruption_writes_nothing_and_the_terminal_is_as_it_was(
    github: Bench, terminal: OnTerminal, tmp_path: Path, question: str
) -> None:
    screen = terminal("init", "--no-images", "--plain-http", "--config", config(tmp_path))
    before = screen.settings()
    talk = [
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.fake.url}/acme/app\n"),
        ("Its token", "ghp_good\n"),
        ("A name for the pool", "\n"),
    ]
    wanted = [asked for asked, _ in talk].index(question)
    typed(screen, *talk[:wanted], (question, "\x03"))
    code, shown = screen.end()
    assert (code, nothing(tmp_path)) == (130, True), shown
    assert "interrupted: nothing is written" in shown
    assert screen.settings() == before


def test_an_app_that_is_refused_may_be_another_app_or_a_token(
    github: Bench, terminal: OnTerminal, tmp_path: Path
) -> None:
    pem = tmp_path / "key.pem"
    pem.write_text(make_key(tmp_path))
    screen = terminal("init", "--no-images", "--plain-http", "--config", config(tmp_path))
    typed(
        screen,
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.fake.url}/acme\n"),
        ("Its token", "app\n"),
        ("The App's id", "4712\n"),
        ("The file of App 4712's private key", f"{pem}\n"),
        ("401", ""),
        ("Its URL", "\n"),
        ("Its token", "\n"),  # as before
        ("401", ""),
        ("Its URL", "\n"),
        ("Its token", "app\n"),
        ("The App's id [4712]", "4713\n"),
        ("The file of App 4713's private key", f"{pem.read_text().strip()}\n"),
        ("401", ""),
        ("Its URL", "\n"),
        ("Its token", "ghp_good\n"),
        ("Which runner group", "\n"),
        ("A name for the pool", "\n"),
        ("How many slots", "\n"),
    )
    code, shown = screen.end()
    assert code == 0, shown
    assert [line for line in pem.read_text().splitlines() if line in shown] == []
    settings: Any = load(config(tmp_path), environ={}).config.pools[0].settings
    assert (settings.app, settings.token is None) == (None, False)


def test_where_an_authority_is_asked_for_another_address_may_be_given(
    github: Bench, terminal: OnTerminal, tmp_path: Path, private: Path
) -> None:
    screen = terminal("init", "--no-images", "--config", config(tmp_path))
    typed(
        screen,
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.url}\n"),
        ("Its token", "ghp_good\n"),
        ("A PEM file of the authority to trust", "\n"),
        ("Its URL", "\n"),
        ("Its token", "\n"),
        ("A PEM file of the authority to trust", f"{private}\n"),
        ("Which runner group", "\n"),
        ("A name for the pool", "\n"),
        ("How many slots", "\n"),
    )
    code, shown = screen.end()
    assert code == 0, shown
    assert load(config(tmp_path), environ={}).config.pools[0].ca == str(private)


def test_a_name_that_cannot_be_written_is_asked_for_again(
    github: Bench, init: Init, terminal: OnTerminal, tmp_path: Path
) -> None:
    assert init("--provider", "local", "--name", "one").code == 0
    with config(tmp_path).open("a") as file:
        file.write('\n[[pool]]\nname = "two"\nprovider = "local"\nslots = 1\n')
    screen = terminal("init", "--no-images", "--plain-http", "--config", config(tmp_path))
    typed(
        screen,
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.fake.url}/acme\n"),
        ("Its token", "ghp_good\n"),
        ("Which runner group", "\n"),
        ("A name for the pool", "two\n"),
        ("beside others", ""),
        ("A name for the pool", "three\n"),
        ("How many slots", "\n"),
    )
    code, shown = screen.end()
    assert code == 0, shown
    names = [pool.name for pool in load(config(tmp_path), environ={}).config.pools]
    assert names == ["one", "two", "three"]


def _ended(bench: Bench) -> str:
    """The pool's token is worth nothing any more; another one that is."""
    fake = bench.fake
    if bench.provider == "gitlab":
        fake.forget_token(bench.token)
        return str(fake.person(*RIGHTS))
    if bench.provider == "gitea":
        fake.people.clear()
        return str(fake.person("write:organization"))
    fake.tokens["another-one"] = fake.tokens.pop(bench.token)
    return "another-one"


def test_what_is_there_is_looked_at_and_a_secret_that_ended_is_replaced(
    bench: Bench, init: Init, terminal: OnTerminal, tmp_path: Path
) -> None:
    assert init(*bench.typed("--name", "ci"), stdin=bench.token).code == 0
    before = config(tmp_path).read_text()
    new = _ended(bench)
    screen = terminal("init", "--no-images", "--config", config(tmp_path))
    stored = tmp_path / "etc" / "credentials" / "ci-token"
    typed(
        screen,
        ("Look at what is there, or add a pool", "\n"),
        ("401", ""),
        ("Another secret for pool ci", f"{new}\n"),
        ("its service lets it be", ""),
    )
    code, shown = screen.end()
    assert code == 0, shown
    assert (stored.read_text(), stored.stat().st_mode & 0o777) == (f"{new}\n", 0o600)
    assert config(tmp_path).read_text() == before
    assert new not in shown


@cache
def another_key() -> str:
    words = ["openssl", "genrsa", "-traditional", "2048"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("way", ["file", "pasted"])
def test_the_key_of_an_app_that_was_revoked_is_replaced_by_its_file_or_pasted(
    github: Bench, init: Init, terminal: OnTerminal, tmp_path: Path, way: str
) -> None:
    old, new = make_key(tmp_path), another_key()
    key = public_numbers(old)
    github.fake.apps["4711"] = (key.n, key.e)
    assert init(*github.typed("--app", "4711", "--name", "ci"), stdin=old).code == 0
    key = public_numbers(new)
    github.fake.apps["4711"] = (key.n, key.e)
    downloaded = tmp_path / "new.pem"
    downloaded.write_text(new)
    screen = terminal("init", "--no-images", "--config", config(tmp_path))
    typed(
        screen,
        ("Look at what is there, or add a pool", "\n"),
        ("does not take the key of App 4711 (401)", ""),
        ("The file of another private key of App 4711", "/nobody/has/it.pem\n"),
        ("it.pem cannot be read: No such file", ""),
        ("The file of another", f"{new.splitlines()[1]}\n"),
        ("what was typed cannot be read: ", ""),
        ("The file of another", f"{downloaded}\n" if way == "file" else f"{new.strip()}\n"),
        ("its service lets it be", ""),
    )
    code, shown = screen.end()
    assert code == 0, shown
    stored = tmp_path / "etc" / "credentials" / "ci-key"
    assert stored.read_text().strip() == new.strip()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert "is none of them" not in shown
    # Nothing of a key is shown, also not of its first line, which comes before anybody knows what it is.
    assert [line for line in new.splitlines() if line in shown] == []
    assert (str(downloaded) in shown) is (way == "file")


def test_a_pool_that_is_left_broken_or_cannot_be_reached_keeps_the_others_from_nothing(
    github: Bench, init: Init, terminal: OnTerminal, tmp_path: Path
) -> None:
    assert init(*github.typed("--name", "a"), stdin=github.token).code == 0
    assert init(*github.typed("--name", "b"), stdin=github.token).code == 0
    with ExitStack() as stack:
        away = _bench("azure", stack)
        assert init(*away.typed("--name", "c"), stdin=away.token).code == 0
        new = _ended(github)
        away.fake.stop()
        screen = terminal("init", "--no-images", "--config", config(tmp_path))
        typed(
            screen,
            ("Look at what is there, or add a pool", "\n"),
            ("Another secret for pool a", "\n"),
            ("Another secret for pool b", f"{new}\n"),
            ('pool "b": its service lets it be', ""),
            ("gave no answer", ""),
            ("Try pool c again [Y/n]", "n\n"),
        )
        code, shown = screen.end()
    assert code == 1, shown
    assert "pools a, c still do not work, as said above" in plain(shown)
    stored = tmp_path / "etc" / "credentials"
    assert (stored / "b-token").read_text() == f"{new}\n"
    assert (stored / "a-token").read_text() == f"{github.token}\n"


def test_a_key_that_is_pasted_where_a_token_is_asked_for_is_taken_for_an_app_s(
    github: Bench, terminal: OnTerminal, tmp_path: Path
) -> None:
    pem = make_key(tmp_path)
    key = public_numbers(pem)
    github.fake.apps["4711"] = (key.n, key.e)
    screen = terminal("init", "--no-images", "--plain-http", "--config", config(tmp_path))
    typed(
        screen,
        ("Where do jobs come from", "github\n"),
        ("Its URL", f"{github.fake.url}/acme\n"),
        ("Its token", f"{pem.strip()}\n"),
        ("The id of the App whose key that is", "4711\n"),
        ("Which runner group", "\n"),
        ("A name for the pool", "\n"),
        ("How many slots", "\n"),
    )
    code, shown = screen.end()
    assert code == 0, shown
    settings: Any = load(config(tmp_path), environ={}).config.pools[0].settings
    assert settings.app.id == "4711"
    assert pem.splitlines()[1] not in shown


def test_who_may_not_write_is_told_before_anything_is_asked(
    terminal: OnTerminal, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = tmp_path / "etc"
    place.mkdir(mode=0o755)
    subprocess.run(["chattr", "+i", place], check=False, capture_output=True)
    if os.access(place, os.W_OK):
        pytest.skip("root may write everywhere here")
    try:
        screen = terminal("init", "--config", place / "config.toml")
        code, shown = screen.end()
        assert code == 1
        assert "try sudo" in shown
        assert "Where do jobs" not in shown
    finally:
        subprocess.run(["chattr", "-i", place], check=False)
