"""The doctor asks a pool's service itself, with the token as the manager would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli import examination, image_refreshing
from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec
from mayfly.edge.faults import Passing
from mayfly.providers.installed import load
from tests import copies
from tests.fakes.github import FakeGitHub
from tests.providers.contract import pool


def doctor(config: Path, **environment: str) -> dict[str, list[dict[str, Any]]]:
    """What `mayfly doctor --json` says, by check."""
    around = {**os.environ, **environment}
    done = copies.command("doctor", "--json", "--config", config, environment=around)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(done.stdout)["checks"]:
        found.setdefault(row["code"], []).append(row)
    assert "ghp_" not in done.stdout + done.stderr
    return found


def configured(home: Path, url: str, token: str) -> Path:
    config = home / "config.toml"
    config.write_text(
        f'[host]\nname = "box"\nstate_dir = "{home}/state"\n[[pool]]\nname = "gh"\nprovider = "github"\n'
        f'url = "{url}/acme"\nagent_pool = "gpu"\ntoken = {token}\n'
    )
    return config


def test_a_good_token_passes_a_wrong_one_is_told_and_a_missing_one_has_a_line_to_paste(
    tmp_path: Path,
) -> None:
    (tmp_path / "gh-token").write_text("ghp_good")
    (tmp_path / "gh-wrong").write_text("ghp_wrong")
    with FakeGitHub() as fake:
        good = configured(tmp_path, fake.url, '{ credential = "gh-token" }')
        found = doctor(good, CREDENTIALS_DIRECTORY=str(tmp_path))
        assert found["config.secrets"][0]["state"] == "ok"
        assert [row["state"] for row in found["service.allows"]][:1] == ["ok"], found[
            "service.allows"
        ]
        wrong = configured(tmp_path, fake.url, '{ credential = "gh-wrong" }')
        found = doctor(wrong, CREDENTIALS_DIRECTORY=str(tmp_path))
        assert found["service.allows"][0]["state"] == "fail"
        missing = configured(tmp_path, fake.url, '{ credential = "gh-none" }')
        found = doctor(missing, CREDENTIALS_DIRECTORY=str(tmp_path))
        assert found["config.secrets"][0]["state"] == "fail"
        assert "LoadCredential=gh-none:" in found["config.secrets"][0]["fix"]


def test_what_one_service_says_keeps_no_other_unasked(tmp_path: Path) -> None:
    (tmp_path / "gh-token").write_text("ghp_good")
    with FakeGitHub() as fake, FakeGitHub() as odd:
        twice = configured(tmp_path, fake.url, '{ credential = "gh-token" }')
        text = twice.read_text()
        other = text[text.index("[[pool]]") :].replace('"gh"', '"odd"').replace(fake.url, odd.url)
        twice.write_text(text.replace("[[pool]]", f"{other}[[pool]]"))
        odd.spoil = lambda answer: replace(
            answer, headers={**answer.headers, "Date": f"Mon, 20 Jan {'9' * 20} 00:00:00 GMT"}
        )
        found = doctor(twice, CREDENTIALS_DIRECTORY=str(tmp_path))
        told = found["service.allows"]
        assert any("odd" in row["text"] for row in told)
        assert any("gh" in row["text"] for row in told)
        assert {row["state"] for row in told} == {"ok"}


class Odd:
    """A provider that meets a bug of its own at what its service says."""

    def check(self) -> list[object]:
        raise OverflowError("date value out of range")


def test_a_bug_that_one_service_brings_out_is_told_of_its_pool_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(
        HostSpec("box"),
        tuple(
            pool("github", name=PoolName(one), url="http://127.0.0.1:1/acme")
            for one in ("odd", "other")
        ),
    )
    made = load

    def provider_of(spec: PoolSpec, *rest: Any) -> Any:
        return Odd() if spec.name == "odd" else made(spec, *rest)

    monkeypatch.setattr(examination, "provider_of", provider_of)
    found = examination._services(config, tmp_path, frozenset())
    assert found[PoolName("odd")].refused == (
        "a bug in Mayfly, please report it: OverflowError: date value out of range"
    )
    assert "OverflowError" not in str(found[PoolName("other")])

    def offered(spec: PoolSpec, *_: Any, **__: Any) -> None:
        raise OverflowError("year") if spec.name == "odd" else Passing("no answer")

    monkeypatch.setattr(image_refreshing, "offered", offered)
    assert image_refreshing._ask(config, lambda: 0.0) == {
        "pool odd": "a bug in Mayfly, please report it: OverflowError: year",
        "pool other": "no answer",
    }


WITHOUT = "import sys; sys.modules['cryptography'] = None; from mayfly.cli.app import main; main()"


def test_the_library_that_an_app_needs_and_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.pem").write_text("a key that nobody can read without it")
    (tmp_path / "app.pem").chmod(0o600)
    config = configured(tmp_path, "http://127.0.0.1:1", "")
    app = f'app = "4711"\napp_key = {{ file = "{tmp_path}/app.pem" }}\n'
    config.write_text(config.read_text().replace("token = \n", app))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "doctor", "--json", "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [row for row in json.loads(done.stdout)["checks"] if row["code"] == "service.allows"]
    (row,) = rows
    assert row["state"] == "fail"
    assert "-m pip install 'cryptography>=44'" in row["text"]
