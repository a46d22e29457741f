"""``config check|show|schema``, ``init`` and ``run``'s refusals: no manager, real files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mayfly.cli.init_text import Found, PoolAnswers, config_text
from mayfly.cli.verbs import app
from mayfly.edge.extras import extra_line
from mayfly.edge.provider_keys import secrets_of
from mayfly.providers.configuration import load
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.installed import packages
from tests import copies
from tests.cli.conftest import Mayfly, plain
from tests.fakes.nvml import Hardware
from tests.terminal import Terminal, environment

OnTerminal = Callable[..., Terminal]

GOOD = '[host]\nname = "lab"\n[[pool]]\nname = "local"\nslots = 2\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    return path


def test_check_says_that_all_is_well(mayfly: Mayfly, config: Path) -> None:
    ran = mayfly("config", "check", "--config", config)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"mayfly: {config}: 1 pool, 2 slots, no mistakes\n"
    assert mayfly("--config", config, "config", "check").code == 0
    assert mayfly("config", "check", MAYFLY_CONFIG=str(config)).code == 0


def test_check_names_every_mistake(mayfly: Mayfly, config: Path) -> None:
    config.write_text(GOOD + 'slotz = 1\ntoken = "hunter2"\n')
    ran = mayfly("config", "check", "--config", config)
    assert ran.code == 1
    assert ran.err.splitlines() == [
        f'mayfly: {config}:6: [[pool]] "local" slotz: there is no such key; did you mean slots?',
        (
            f'mayfly: {config}:7: [[pool]] "local" token: belongs to a service; provider local, the '
            "embedded queue, has none"
        ),
        "mayfly: 2 mistakes",
    ]
    assert "hunter2" not in ran.err
    document = json.loads(mayfly("config", "check", "--config", config, "--json").out)
    assert document["schema"] == "mayfly.config-check/1"
    assert [problem["key"] for problem in document["problems"]] == ["slotz", "token"]
    assert [problem["line"] for problem in document["problems"]] == [6, 7]


def test_check_tells_old_keys_beside_the_mistakes(mayfly: Mayfly, config: Path) -> None:
    pool = '[[pool]]\nname = "lab"\nprovider = "gitlab"\nurl = "https://lab/g"\nslots = "2"\n'
    config.write_text(pool + 'token = { credential = "lab" }\n')
    ran = mayfly("config", "check", "--config", config)
    assert ran.code == 1
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == [
        f"{config}:5", f"{config}:4", f"{config}:6", "1 mistake, and 2 old keys"
    ]  # fmt: skip


@pytest.mark.parametrize("verb", [("run",), ("plan",), ("config", "show"), ("doctor",)])
def test_whoever_reads_the_file_tells_every_mistake_with_its_line(
    mayfly: Mayfly, config: Path, verb: tuple[str, ...]
) -> None:
    config.write_text(GOOD + "slotz = 1\ncuda = 12.8\nsudo = yes\n")
    ran = mayfly(*verb, "--config", config)
    assert ran.code == 1
    for line in (6, 7, 8):
        assert f"{config}:{line}: " in ran.out + ran.err


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["words", "json"])
def test_check_counts_the_gpus_of_the_host_in_either_form(
    mayfly: Mayfly, config: Path, form: tuple[str, ...]
) -> None:
    config.write_text(GOOD + "gpus = 1\n")  # for each of its two slots
    for there, code in ((1, 1), (2, 0)):
        with Hardware(gpus=there) as hardware:
            ran = mayfly("config", "check", "--config", config, *form, **hardware.environment())
        assert ran.code == code, ran.err
        assert ("GPU" in ran.out + ran.err) is bool(code)


WITHOUT = "import sys; sys.modules['cryptography'] = None; from mayfly.cli.app import main; main()"
APP = (
    '[host]\nname = "lab"\n[[pool]]\nname = "gh"\nprovider = "github"\n'
    '[pool.github]\nurl = "https://github.com/lab"\n'
    'app = { id = "4711", key = { file = "/etc/mayfly/app.pem" } }\n'
)


def test_check_names_the_library_that_an_app_needs_and_only_where_it_is_missing(
    mayfly: Mayfly, config: Path
) -> None:
    config.write_text(APP)
    assert mayfly("config", "check", "--config", config).code == 0
    words = ("config", "check", "--config", str(config))
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        f'mayfly: {config}:8: [[pool]] "gh" . github app: a GitHub App\'s key needs the Python library '
        f"cryptography, beside Mayfly: `{extra_line('app')}`\n"
        "mayfly: 1 mistake\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    (problem,) = json.loads(ran.stdout)["problems"]
    assert (problem["file"], problem["key"]) == (str(config), "app")
    config.write_text(GOOD)
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0


def test_show_prints_what_is_in_force_and_who_said_it(mayfly: Mayfly, config: Path) -> None:
    shown = mayfly("config", "show", "--config", config).out
    assert tomllib.loads(shown)["pool"][0]["slots"] == 2
    ran = mayfly("config", "show", "--origin", "--config", config, MAYFLY_HOST__GPU="off")
    assert f"# {config}" in next(line for line in ran.out.splitlines() if "slots =" in line)
    assert "# $MAYFLY_HOST__GPU" in ran.out
    assert "# default" in ran.out
    document = json.loads(mayfly("config", "show", "--json", "--origin", "--config", config).out)
    assert document["schema"] == "mayfly.config/2"
    assert document["origins"]["pool.local.slots"] == str(config)


def test_what_show_prints_loads_whatever_a_path_is_called(
    mayfly: Mayfly, config: Path, tmp_path: Path
) -> None:
    config.write_text(GOOD + '[[pool.dataset]]\nsource = "/data/😀"\ntarget = "/data/\\u0007"\n')
    shown = tmp_path / "shown.toml"
    shown.write_text(mayfly("config", "show", "--origin", "--config", config).out)
    assert load(shown, environ={}).config == load(config, environ={}).config


def test_schema_is_a_json_schema(mayfly: Mayfly) -> None:
    assert json.loads(mayfly("config", "schema").out)["title"] == "Mayfly configuration"


# -- init ------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_loads_and_never_writes_over_one(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "config.toml"
    ran = mayfly("init", "--no-images", "--config", path, "--slots", "3", "--name", "cpu")
    assert (ran.code, ran.out) == (0, "")
    (pool,) = load(path, environ={}).config.pools
    assert (pool.name, pool.slots, pool.provider) == ("cpu", 3, "local")
    path.write_text("mine")
    ran = mayfly("init", "--config", path)
    assert (ran.code, path.read_text()) == (1, "mine")
    assert "--force" in ran.err
    assert mayfly("init", "--no-images", "--config", path, "--force").code == 0
    assert load(path, environ={}).config.pools[0].slots >= 1
    assert {entry.name for entry in path.parent.iterdir()} == {"config.toml", "config.toml.bak"}
    assert path.with_name("config.toml.bak").read_text() == "mine"


def test_init_of_a_service_names_a_credential_and_holds_no_secret(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    ran = mayfly(
        "init", "--no-images", "--config", path, "--provider", "azure", "--url", "https://dev.azure.com/lab",
        "--agent-pool", "gpu", "--credential", "azure-pat", "--unchecked",
    )  # fmt: skip
    assert ran.code == 0
    (pool,) = load(path, environ={}).config.pools
    assert list(secrets_of(pool.settings)) == [{"credential": "azure-pat"}]
    assert "LoadCredential=azure-pat:" in path.read_text()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name is as short as that of /etc/mayfly: a path that is shown is never cut."""
    with tempfile.TemporaryDirectory(prefix="mayfly-", dir="/tmp") as place:
        yield Path(place)


def test_init_asks_on_a_terminal(terminal: OnTerminal, short_path: Path) -> None:
    path = short_path / "config.toml"
    screen = terminal("init", "--no-images", "--unchecked", "--config", path)
    for question, answer in (
        ("Where do jobs come from", "gitlab"),
        ("Its URL", "gitlab.lab"),
        ("Its runners belong to", "group:77"),
        ("A name for the pool", "ci"),
        ("How many slots", "4"),
    ):
        screen.until(question)
        screen.until(
            ": ", after=screen.seen.index(question)
        )  # what is typed before is shown before
        screen.type(answer + "\n")
    code, shown = screen.end()
    assert code == 0
    assert "GPUs for each slot" not in shown or Path("/dev/nvidia0").exists()
    # What is to be typed is never wrapped.
    assert max(len(line) for line in plain(shown).splitlines() if not line.startswith("  ")) <= 80
    (pool,) = load(path, environ={}).config.pools
    assert (pool.provider, pool.name, pool.slots) == ("gitlab", "ci", 4)
    token = {"credential": "ci-token"}
    assert pool.settings == GitLabSettings("https://gitlab.lab", token, scope="group:77")


def scope_of(path: Path) -> str | None:
    settings = load(path, environ={}).config.pools[0].settings
    assert isinstance(settings, GitLabSettings)
    return settings.scope


def test_init_for_gitlab_says_where_runners_belong_or_how_that_is_said(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    words = (
        "init",
        "--no-images",
        "--unchecked",
        "--force",
        "--config",
        path,
        "--provider",
        "gitlab",
    )
    assert mayfly(*words, "--scope", "project:5").code == 0
    assert scope_of(path) == "project:5"
    assert mayfly(*words, "--url", "https://gitlab.lab/team").code == 0
    assert scope_of(path) is None
    assert '# scope = "group:ID"' in path.read_text()
    before = path.read_text()
    wrong = mayfly(*words, "--scope", "team")
    assert (wrong.code, path.read_text()) == (2, before)
    assert "'team'" in wrong.err


def test_init_takes_a_service_without_tls_where_that_is_said(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    words = (
        "init",
        "--no-images",
        "--unchecked",
        "--config",
        path,
        "--provider",
        "gitea",
        "--url",
        "http://git.lab",
    )
    refused = mayfly(*words, "--scope", "instance")
    assert (refused.code, path.exists()) == (2, False)
    assert re.search(
        r"mayfly: the URL is not https: .*, here by --plain-http$", refused.err.strip()
    )
    assert mayfly(*words, "--scope", "instance", "--plain-http").code == 0
    (pool,) = load(path, environ={}).config.pools
    assert pool.plain_http


def test_init_lets_jobs_bring_containers_where_that_is_said(mayfly: Mayfly, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert mayfly("init", "--no-images", "--config", path, "--provider", "local").code == 0
    assert not load(path, environ={}).config.pools[0].containers
    words = ("--force", "--provider", "local", "--containers")
    assert mayfly("init", "--no-images", "--config", path, *words).code == 0
    assert load(path, environ={}).config.pools[0].containers


@pytest.mark.parametrize("provider", ["gitea"])
def test_init_names_an_authority_by_its_whole_path(
    mayfly: Mayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    path = tmp_path / "config.toml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    words = ("init", "--no-images", "--unchecked", "--config", path, "--provider", provider)
    assert mayfly(*words, "--ca", "ca.pem", "--url", "https://git.lab/team").code == 0
    (pool,) = load(path, environ={}).config.pools
    assert pool.ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("ca", "why"),
    [
        ("none.pem", "is not a file on this host"),
        (".", "is not a file on this host"),
        ("empty.pem", "holds no certificate: it has to be a PEM file"),
    ],
)
def test_init_says_what_an_authority_s_file_lacks(
    mayfly: Mayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: str, why: str
) -> None:
    path = tmp_path / "config.toml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pem").touch()
    words = ("init", "--no-images", "--config", path, "--provider", "local")
    refused = mayfly(*words, "--ca", ca)
    assert (refused.code, path.exists()) == (2, False)
    assert refused.err.startswith(f"mayfly: --ca {ca} {why}")


@pytest.mark.engine  # the docker command, and nobody who answers it
def test_an_image_is_built_before_there_is_a_configuration_where_init_would_have_it(
    tmp_path: Path,
) -> None:
    engine = f"unix://{tmp_path}/nobody"
    around = environment(MAYFLY_CONFIG=str(tmp_path / "none.toml"), DOCKER_HOST=engine)
    done = copies.command("images", "build", "cpu", environment=around)
    assert (done.returncode, engine in done.stderr) == (1, True), done.stderr


def test_init_asks_again_after_each_wrong_answer_and_loses_none(
    terminal: OnTerminal, short_path: Path
) -> None:
    path = short_path / "config.toml"
    screen = terminal("init", "--no-images", "--unchecked", "--config", path, "--agent-pool", "gpu")
    at = 0
    for question, answer in (
        ("Where do jobs come from", "azzure"),
        ("there is no 'azzure'", ""),
        ("Where do jobs come from", "gitlab"),
        ("--agent-pool means nothing to gitlab", ""),
        ("Where do jobs come from", "azure"),
        ("Its URL", "ftp://dev.azure.com/lab"),
        ("must be a URL that begins with https", ""),
        ("Its URL", "dev.azure.com/lab"),
        ("A name for the pool", "My Pool"),
        ("'My Pool' must be lower-case letters", ""),
        ("A name for the pool", "ci"),
        ("How many slots", "lots"),
        ("'lots' is not a whole number from 1 to 1000", ""),
        ("How many slots", "0"),
        ("'0' is not a whole number", ""),
        ("How many slots", "4"),
    ):
        screen.until(question, after=at)
        at = screen.seen.index(question, at)
        if answer:
            screen.until("]: ", after=at)
            at = screen.seen.index("]: ", at)
            screen.type(answer + "\n")
    code, _ = screen.end()
    assert code == 0
    (pool,) = load(path, environ={}).config.pools
    assert (pool.provider, pool.name, pool.slots) == ("azure", "ci", 4)


def test_init_that_nobody_answers_any_more_writes_nothing(
    terminal: OnTerminal, short_path: Path
) -> None:
    path = short_path / "config.toml"
    screen = terminal("init", "--no-images", "--config", path)
    screen.until("Where do jobs come from")
    screen.type("\x04")
    code, shown = screen.end()
    assert (code, path.exists()) == (1, False)
    assert "nothing is written" in shown


@pytest.mark.parametrize(
    "arguments", [["--provider", "jenkins"], ["--slots", "0"], ["--slots", "many"]]
)
def test_init_refuses_what_there_is_not(
    mayfly: Mayfly, tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "config.toml"
    assert mayfly("init", "--config", path, *arguments).code == 2
    assert not path.exists()


FOUND = [
    Found("lab", None),
    Found("lab", "unix:///run/docker.sock", "28.1.0", ("nvidia", "runc"), 4),
    Found("lab", "unix:///run/docker.sock", "28.1.0", ("runc",), 2),
]


@pytest.mark.parametrize("found", FOUND)
@pytest.mark.parametrize("provider", packages())
def test_whatever_was_found_the_file_loads(tmp_path: Path, found: Found, provider: str) -> None:
    pool = "gpu" if provider == "azure" else None
    url = None if provider == "local" else "https://example.org/x"
    wanted = PoolAnswers(provider, provider, 2, int(found.nvidia), url, pool)
    path = tmp_path / "config.toml"
    path.write_text(config_text(found, wanted))
    assert load(path, environ={}).config.pools[0].gpus == int(found.nvidia)
    assert max(map(len, path.read_text().splitlines())) <= 100


# -- run -------------------------------------------------------------------------------------------


def test_run_refuses_a_wrong_configuration_before_anything_else(
    mayfly: Mayfly, config: Path
) -> None:
    config.write_text(GOOD + "slotz = 1\n")
    ran = mayfly("run", "--config", config)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f'mayfly: {config}:6: [[pool]] "local" slotz: there is no such key; did you mean slots?\n'
    )


# -- the command itself ----------------------------------------------------------------------------


def test_help_is_plain_and_fits_80_columns(mayfly: Mayfly) -> None:
    ran = mayfly("--help")
    assert ran.code == 0
    assert "│" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.out.startswith("Usage: mayfly [OPTIONS] COMMAND [ARGS]...")


def of_all_verbs(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(None):
        verb = group.get_command(None, name)
        yield (*before, name)
        if hasattr(verb, "list_commands"):
            yield from of_all_verbs(verb, (*before, name))


def test_no_verb_s_help_has_a_program_s_words_or_half_a_sentence() -> None:
    for words in ((), *of_all_verbs(typer.main.get_command(app))):
        said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output
        assert said.startswith("Usage: "), words
        assert not re.search(r"<(str|int|float|path)|range>|\{[A-Z]", said), words
        assert "..." not in said.partition("Commands:")[2], words


def test_without_a_verb_it_helps_and_with_a_wrong_one_it_says_so(mayfly: Mayfly) -> None:
    assert "Usage: mayfly" in (mayfly().out + mayfly().err)
    ran = mayfly("stauts")
    assert ran.code == 2
    assert "status" in ran.err


def test_version(mayfly: Mayfly) -> None:
    from mayfly import __version__

    ran = mayfly("--version")
    assert (ran.code, ran.out) == (0, f"mayfly {__version__}\n")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            'cuda = "99.1"\n',
            '[[pool]] "local" cuda: there is no image for CUDA 99.1; there are 13.',
        ),
        *(
            (
                f'provider = "{name}"\n[pool.{name}]\nurl = "{package.hints.url}"\n'
                'token = { credential = "x" }\n' + 'agent_pool = "a"\n' * (name == "azure"),
                f"url: {package.hints.url} is an example: write the address of yours",
            )
            for name, package in packages().items()
            if package.hints.url
        ),
    ],
)
def test_check_names_what_can_only_be_a_slip(
    mayfly: Mayfly, config: Path, more: str, told: str
) -> None:
    config.write_text(GOOD + more)
    ran = mayfly("config", "check", "--config", config)
    assert ran.code == 1
    assert told in ran.err, ran.err


def test_check_names_the_engine_that_is_not_there(mayfly: Mayfly, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[host]\nname = "lab"\nengine = "dockr"\n[[pool]]\nname = "a"\n')
    ran = mayfly("config", "check", "--config", config)
    assert ran.code == 1
    sentence = 'engine: there is no engine "dockr"; did you mean docker?'
    assert f"{config}:3: [host] {sentence}" in ran.err
    config.write_text(config.read_text().replace("dockr", "zzz"))
    assert "there are: docker, kubernetes\n" in mayfly("config", "check", "--config", config).err
