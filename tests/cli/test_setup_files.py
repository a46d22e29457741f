"""The files that ``init`` writes: what is kept beside, what systemd reads a secret from, what it has read."""

from __future__ import annotations

from pathlib import Path

from mayfly.cli.setup_files import Layout, WantedFile, drop_ins, handed_since, secret_files, write
from mayfly.edge.credentials import Secret


def layout(home: Path, unit: bool = True) -> Layout:
    (home / "etc/credentials").mkdir(parents=True)
    (home / "unit.d").mkdir()
    return Layout(home / "etc/config.toml", unit, home / "unit.d")


def test_what_is_written_over_is_kept_for_no_more_readers_than_before(tmp_path: Path) -> None:
    config, before = tmp_path / "config.toml", 'slots = 1\nenv = { KEY = "sk-of-ours" }\n'
    config.write_text(before)
    config.chmod(0o640)
    write([WantedFile(config, "slots = 2\n")])
    kept = tmp_path / "config.toml.bak"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (before, 0o640)
    kept.chmod(0o644)
    config.chmod(0o600)
    write([WantedFile(config, "slots = 3\n")])
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("slots = 2\n", 0o600)


def test_a_secret_is_written_where_systemd_takes_it_from(tmp_path: Path) -> None:
    at = layout(tmp_path)
    elsewhere = tmp_path / "vault/gh"
    (at.drop_ins / "override.conf").write_text(
        f"[Service]\nLoadCredential=gh-old:/x\n  LoadCredential=gh:{elsewhere}\n"
    )
    (file,) = secret_files(at, "gh", Secret("new"))
    assert (file.path, file.text, file.secret) == (elsewhere, "new\n", True)
    assert at.stored("gh-other") == at.kept / "gh-other"
    (other,) = drop_ins(at, "gh-other")
    assert other.text.endswith(f"LoadCredential=gh-other:{at.kept}/gh-other\n")
    write([other])
    assert at.stored("gh-other") == at.kept / "gh-other"  # our own drop-in is nobody else's word


def test_without_a_unit_nobody_s_drop_in_says_where_a_secret_is(tmp_path: Path) -> None:
    at = layout(tmp_path, unit=False)
    (at.drop_ins / "override.conf").write_text("[Service]\nLoadCredential=gh:/vault/gh\n")
    assert at.stored("gh") == at.kept / "gh"
    assert drop_ins(at, "gh") == []


def test_what_systemd_hands_over_was_written_since_a_time_or_was_not(tmp_path: Path) -> None:
    at = layout(tmp_path)
    assert not handed_since(at, 0.0)
    write(secret_files(at, "gh", Secret("new")))
    secret, drop_in = at.kept / "gh", at.drop_in("gh")
    began = secret.stat().st_mtime
    assert handed_since(at, began)
    assert not handed_since(at, max(began, drop_in.stat().st_mtime) + 1.0)
