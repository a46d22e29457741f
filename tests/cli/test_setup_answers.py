"""The answers of ``init --from``: strict, each mistake one sentence, never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.cli.setup_answers import Answers, read_answers
from mayfly.cli.trouble import Usage


def test_the_keys_are_the_options(tmp_path: Path) -> None:
    file = tmp_path / "answers.toml"
    file.write_text(
        'provider = "github"\nurl = "https://github.com/acme"\ntoken_file = "/t"\nslots = 2\n'
        'gpus = 1\nplain_http = false\nagent_pool = "gpu"\n'
    )
    assert read_answers(str(file)) == Answers(
        "github", slots=2, gpus=1, url="https://github.com/acme", agent_pool="gpu",
        token_file="/t", plain_http=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (b"provder = 'x'\n", ["provder: there is no such key; did you mean provider?"]),
        (b"zzz = 1\n", ["zzz: there is no such key; there are provider, name"]),
        (b"slots = 'two'\n", ["slots: must be a whole number, not 'two'"]),
        (b"slots = true\n", ["slots: must be a whole number, not True"]),
        (b"slots = 0\ngpus = -1\n", ["slots: must be 1 or more, not 0", "gpus: must be 0 or more"]),
        (b"url = 5\nplain_http = 'no'\n", ["url: must be a text", "plain_http: must be true or"]),
        (b"token = 'ghp_x'\n", ["token: a secret has no place in this file"]),
        (b"[github]\nurl = 'x'\n", ["github: there is no such key"]),
        (b"slots = \n", ["is not TOML"]),
        (b"\xff", ["is not UTF-8 text"]),
        (b"#" * 70_000, ["is larger than 64 KiB"]),
    ],
)
def test_each_mistake_is_told_in_a_sentence(
    tmp_path: Path, text: bytes, sentences: list[str]
) -> None:
    file = tmp_path / "answers.toml"
    file.write_bytes(text)
    with pytest.raises(Usage) as caught:
        read_answers(str(file))
    told = str(caught.value).splitlines()
    assert len(told) == len(sentences)
    for line, sentence in zip(told, sentences, strict=True):
        assert line.startswith("--from ")
        assert sentence in line
    assert "ghp_x" not in str(caught.value)
