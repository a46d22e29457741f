"""``init --from-prototype -``: the 2019 command line becomes a configuration, its token a file of root's."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mayfly.cli import prototype
from mayfly.cli.init_text import Found
from mayfly.cli.trouble import Usage
from mayfly.edge.provider_keys import secrets_of
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.configuration import load
from tests import copies
from tests.cli.conftest import Ran
from tests.terminal import environment

PAT = "q7secretsecretsecretsecretsecretsecretsecretsecretse"
LINE = (
    f"sudo python3 /opt/seed/python/manager.py {PAT} https://dev.azure.com/lab gpu -n 4 --name lab "
    "--timeout 20 --poll-time 30 -d cwpearson/azp:amd64-cuda101 "
    "--volume /data/imagenet:/datasets/imagenet:IMAGENET_DIR /data/voc:/datasets/voc:VOC_DIR\n"
)
GPUS = Found("box", "unix:///var/run/docker.sock", "27.0", ("nvidia", "runc"), gpus=8)


def init(text: str, config: Path, *words: str) -> Ran:
    """What the command makes of the old one on its standard input."""
    typed = ("init", "--no-images", "--config", str(config), "--from-prototype", *(words or ("-",)))
    done = copies.command(*typed, environment=environment(), typed=text)
    return Ran(done.returncode, done.stdout, done.stderr)


def test_the_old_command_line_becomes_a_configuration_that_says_the_same(tmp_path: Path) -> None:
    config = tmp_path / "etc" / "config.toml"
    ran = init(LINE, config)
    assert ran.code == 0, ran.err
    loaded = load(str(config), environ={}).config
    (pool,) = loaded.pools
    assert loaded.host.name == "lab"
    token = {"file": str(tmp_path / "etc" / "credentials" / "azure-token")}
    assert (pool.provider, pool.slots) == ("azure", 4)
    assert pool.settings == AzureSettings("https://dev.azure.com/lab", "gpu", token)
    assert [(one.source, one.target, one.env) for one in pool.datasets] == [
        ("/data/imagenet", "/datasets/imagenet", "IMAGENET_DIR"),
        ("/data/voc", "/datasets/voc", "VOC_DIR"),
    ]
    assert pool.labels == ("IMAGENET_DIR", "VOC_DIR")
    assert "cwpearson/azp:amd64-cuda101, has no gate" in config.read_text()


def test_the_token_is_in_a_file_of_its_owners_and_nowhere_else(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    ran = init(LINE, config)
    token = tmp_path / "credentials" / "azure-token"
    assert token.read_text().strip() == PAT
    assert token.stat().st_mode & 0o777 == 0o600
    assert PAT not in config.read_text() + ran.out + ran.err
    settings = load(str(config), environ={}).config.pools[0].settings
    assert list(secrets_of(settings)) == [{"file": str(token)}]


def test_a_file_that_is_there_is_not_written_over_unasked(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "azure-token").write_text("another")
    ran = init(LINE, config)
    assert ran.code == 1
    assert "exists; write over it with --force" in ran.err
    assert (tmp_path / "credentials" / "azure-token").read_text() == "another"
    assert not config.exists()


def test_the_old_command_line_is_not_taken_as_an_argument(tmp_path: Path) -> None:
    ran = init("", tmp_path / "config.toml", LINE)
    assert ran.code == 2
    assert PAT not in ran.err
    assert "standard input" in ran.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("manager.py", "lacks the token, the URL, the agent pool"),
        (f"manager.py {PAT} https://dev.azure.com/lab", "lacks the agent pool"),
        (f"manager.py {PAT} u p another", "words too many"),
        (f"manager.py {PAT} u p --volume /a:/b", "not HOST:CONTAINER:VARIABLE"),
        (f"manager.py {PAT} u p -n", "ends after -n"),
        (f"manager.py {PAT} u p -n none", "no number of agents"),
        (f"manager.py {PAT} u p --{PAT}", "an option that the prototype did not know"),
        (f"manager.py '{PAT} u p", "a quote that is not closed"),
        ("manager.py $PAT u p", "stands there as a variable"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_without_the_token(line: str, words: str) -> None:
    with pytest.raises(Usage) as caught:
        prototype.parse(line)
    assert words in str(caught.value)
    assert PAT not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f"{PAT} u p",
        f"manager.py {PAT} u p",
        f"ExecStart=/usr/bin/python3 /opt/manager.py {PAT} \\\n  u \\\n  p",
        f"AZP=1 nohup ./manager.py '{PAT}' \"u\" p # as ever",
    ],
)
def test_the_line_is_found_wherever_it_was_kept(line: str) -> None:
    old = prototype.parse(line)
    assert (old.token, old.url, old.agent_pool, old.slots) == (PAT, "u", "p", 2)
    assert PAT not in repr(old)


def test_every_volume_counts_also_where_the_option_was_repeated() -> None:
    """The prototype kept the last repetition alone, though its README said otherwise."""
    old = prototype.parse(f"{PAT} u p --volume /a:/a:A /b:/b:B --volume=/c:/c:C")
    assert [volume.env for volume in old.volumes] == ["A", "B", "C"]


def test_the_gpus_of_the_host_are_shared_out_among_its_slots() -> None:
    old = prototype.parse(f"{PAT} u p -n 4")
    written = tomllib.loads(prototype.text_of(old, GPUS, "/etc/mayfly/credentials/azure-token"))
    assert written["pool"][0]["gpus"] == 2
    assert "every GPU" in prototype.text_of(old, GPUS, "/etc/mayfly/credentials/azure-token")


def test_a_name_that_mayfly_cannot_take_is_made_one_that_it_can() -> None:
    old = prototype.parse(f"{PAT} u p --name lab.example_1")
    written = tomllib.loads(prototype.text_of(old, GPUS, "/t"))
    assert written["host"]["name"] == "lab-example-1"
