"""The doctor asks a pool's service itself, with the token as the manager would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import copies
from tests.fakes.github import FakeGitHub


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
