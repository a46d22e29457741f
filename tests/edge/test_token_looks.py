"""What looks like a token, in one list: refused in the configuration, masked in messages and reports."""

from __future__ import annotations

import pytest

from mayfly.edge.token_looks import looks_like_a_token, without_long_words, without_tokens
from mayfly.edge.web import clean

TOKENS = [
    "ghp_" + "a1" * 18,
    "github_pat_11AAAA_" + "b2" * 20,
    "ghs_" + "c3" * 18,
    *(f"{kind}-abcDEF123_-xyz" for kind in ("glpat", "glrt", "glrtr", "gldt", "glcbt", "glptt")),
    "GR1348941" + "d" * 20,
    "e" * 76 + "AZDO" + "f123",
    "eyJhbGciOi.eyJpc3MiOi.c2ln",
    "AKIA" + "A1" * 8,
    "hf_" + "g4" * 17,
    "xoxb-123-abc",
    "-----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("token", TOKENS)
def test_each_kind_is_known_wherever_it_stands(token: str) -> None:
    text = f'a "{token}" b'
    assert looks_like_a_token(text)
    assert without_tokens(text) == 'a "****" b'
    assert "****" in clean(text)
    assert token not in clean(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://x/o?private_token=abc&y=1", "https://x/o?private_token=****&y=1"),
        ("https://u:hunter2@x/o", "https://****@x/o"),
        ("PASSWORD=hunter2 next", "PASSWORD=**** next"),
    ],
)
def test_what_stands_where_a_token_stands_is_masked(text: str, told: str) -> None:
    assert without_tokens(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "global-mirror.example.com",
        "sha256:" + "ab" * 32,
        "/srv/glue-files/x",
        "eyJhIjoxfQ==",
        "ghost_x",
    ],
)
def test_what_is_none_is_left_alone(text: str) -> None:
    assert not looks_like_a_token(text)
    assert without_tokens(text) == text


def test_words_from_outside_lose_everything_that_is_as_long_as_a_token() -> None:
    assert without_long_words("x " + "ab" * 32) == "x ****"
