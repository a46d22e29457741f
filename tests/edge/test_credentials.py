"""Secrets: where they may come from, and that they do not show."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mayfly.edge.credentials import Secret, read
from mayfly.edge.faults import Refused


def private(path: Path, data: bytes = b"s3cret\n") -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("s3cret")
    assert (repr(secret), str(secret), f"{secret}") == ("****", "****", "****")
    assert repr({"token": secret}) == "{'token': ****}"
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "s3cret"


def test_systemd_hands_a_credential_over(tmp_path: Path) -> None:
    private(tmp_path / "azure-pat")
    found = read({"credential": "azure-pat"}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == Secret("s3cret")


def test_without_systemd_a_credential_says_what_to_write() -> None:
    with pytest.raises(Refused, match=r"add LoadCredential=azure-pat:/path to mayfly\.service"):
        read({"credential": "azure-pat"}, {})


def test_in_a_pod_a_credential_that_is_not_there_is_a_key_of_its_secret(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    with pytest.raises(Refused, match="add it to the Secret that the manager's pod has at"):
        read({"credential": "azure-pat"}, environ)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\0b", ".hidden"])
def test_a_credential_s_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="is not a credential's name"):
        read({"credential": name}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_file_is_read_without_its_last_newline(tmp_path: Path) -> None:
    assert read({"file": str(private(tmp_path / "t"))}).reveal() == "s3cret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "t")
    path.chmod(mode)
    with pytest.raises(Refused, match=rf"\(mode {mode:04o}\): chmod 600"):
        read({"file": str(path)})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff", "is not text"),
        (b"x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(Refused, match=told):
        read({"file": str(private(tmp_path / "t", data))})


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file"):
        read({"file": str(tmp_path / "nothing")})
    with pytest.raises(Refused, match="is not a file"):
        read({"file": str(tmp_path)})


def test_a_credential_that_the_unit_does_not_load_is_refused_with_what_to_add(
    tmp_path: Path,
) -> None:
    with pytest.raises(Refused, match=r"add LoadCredential=forge:/path .* restart it"):
        read({"credential": "forge"}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize("reference", [{}, {"value": "x"}, {"credential": "a", "file": "/b"}])
def test_a_reference_is_one_of_two_things(reference: dict[str, str]) -> None:
    with pytest.raises(Refused, match="and nothing else"):
        read(reference)
