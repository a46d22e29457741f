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
    "abc8Q~" + "h5" * 17,
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
    "token",
    [
        "AABF3JGZDX3P5PMEXLND6TS6FCWO6",  # GitHub's, to register a runner
        "qLzpUj01nDUpgC1ZL8Yb",  # GitLab's of before 14.5
        "x-hlf5KDG2PstgRpOu7j",
        "k6" * 26,
    ],
)
def test_in_words_from_outside_what_may_be_one_is_masked(token: str) -> None:
    assert without_long_words(f"bad token {token}, sorry") == "bad token ****, sorry"


def test_words_that_are_none_stay_readable_in_what_a_service_says() -> None:
    for words in (
        "runner self-managed-runners is not known, see gitlab_rails/settings",
        "Authorization is required: TF400813, resource not available",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "ALLUPPERCASELETTERSANDNODIGITS",
    ):
        assert without_long_words(words) == words


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
