"""A file from before, whose providers' keys stand in the pools: it means the same, and can be migrated."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.core.desire import fingerprint
from mayfly.core.model import Config, Removal
from mayfly.edge.config import DEFAULT_PROVIDER, ConfigError
from mayfly.edge.config_migrating import migrated
from mayfly.edge.faults import Refused
from mayfly.providers.configuration import load, provider_keys

TOKEN = '{ credential = "secret" }'
# Each old key: its provider, the line of before, and the lines of now.
OLD = [
    ("azure", 'url = "https://dev.azure.com/lab"', 'url = "https://dev.azure.com/lab"'),
    ("azure", 'agent_pool = "gpu"', 'agent_pool = "gpu"'),
    ("azure", f"token = {TOKEN}", f"token = {TOKEN}"),
    ("azure", 'tenant_id = "t"', 'tenant_id = "t"'),
    ("azure", 'client_id = "c"', 'client_id = "c"'),
    ("azure", 'authority = "https://login.lab"', 'authority = "https://login.lab"'),
    ("azure", "calls_per_hour = 500", "calls_per_hour = 500"),
    ("github", 'url = "https://github.com/lab"', 'url = "https://github.com/lab"'),
    ("github", 'agent_pool = "gpu"', 'runner_group = "gpu"'),
    ("github", 'app = "12345"', 'app.id = "12345"'),
    ("github", 'app_key = { file = "/etc/app.pem" }', 'app.key = { file = "/etc/app.pem" }'),
    ("github", 'enrolment = "token"', 'enrolment = "token"'),
    ("github", "calls_per_hour = 600", "calls_per_hour = 600"),
    ("gitlab", 'url = "https://gitlab.lab"', 'url = "https://gitlab.lab"'),
    ("gitlab", f"token = {TOKEN}", f"token = {TOKEN}"),
    ("gitlab", 'scope = "group:7"', 'scope = "group:7"'),
    ("gitlab", "calls_per_hour = 700", "calls_per_hour = 700"),
]
ids = [f"{provider} {old.partition(' ')[0]}" for provider, old, _ in OLD]


def rows(provider: str) -> list[tuple[str, str]]:
    return [(old, new) for name, old, new in OLD if name == provider]


def pool(provider: str, flat: list[str], table: list[str]) -> str:
    """A pool with some keys in it and some in its provider's table."""
    lines = ["[[pool]]", f'name = "{provider}"', f'provider = "{provider}"', "slots = 2", *flat]
    return "\n".join([*lines, *([f"[pool.{provider}]", *table] if table else []), ""])


def read(folder: Path, text: str) -> Config:
    path = folder / "config.toml"
    path.write_text('[host]\nname = "lab"\n' + text)
    return load(path, environ={}).config


NOW = "\n".join(
    pool(provider, [], [new for _, new in rows(provider)])
    for provider in ("azure", "github", "gitlab")
)
BEFORE = "\n".join(
    pool(provider, [old for old, _ in rows(provider)], [])
    for provider in ("azure", "github", "gitlab")
)


@pytest.mark.parametrize(("provider", "old", "new"), OLD, ids=ids)
def test_an_old_key_alone_means_what_its_new_line_means(
    tmp_path: Path, provider: str, old: str, new: str
) -> None:
    others = [line for _, line in rows(provider) if line != new]
    mixed = read(tmp_path, pool(provider, [old], others))
    now = read(tmp_path, pool(provider, [], [new, *others]))
    assert mixed == now
    assert now.old_keys == ()
    (sentence,) = mixed.old_keys
    key, place = old.partition(" ")[0], new.partition(" ")[0]
    assert (
        f'[[pool]] "{provider}" {key}: is an old key: say {place} in [pool.{provider}]' in sentence
    )


def test_all_old_keys_together_mean_what_the_new_lines_mean(tmp_path: Path) -> None:
    before, now = read(tmp_path, BEFORE), read(tmp_path, NOW)
    assert before == now
    assert len(before.old_keys) == len(OLD)
    for one, other in zip(before.pools, now.pools, strict=True):
        marks = [fingerprint(spec, "id", (), Removal.ENGINE) for spec in (one, other)]
        assert marks[0] == marks[1]


def test_a_key_is_said_once(tmp_path: Path) -> None:
    new = [line for _, line in rows("gitlab")]
    with pytest.raises(ConfigError, match=r"url: is said twice: as url in \[pool\.gitlab\] too"):
        read(tmp_path, pool("gitlab", ['url = "https://other.lab"'], new))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (pool("azure", ['scope = "group:7"'], []), "scope: belongs to provider gitlab"),
        (pool("gitlab", ['tenant_id = "t"'], []), "tenant_id: belongs to provider azure"),
        (
            pool("gitlab", [], ["scoop = 1"]),
            '"gitlab" . gitlab scoop: there is no such key; did you mean scope?',
        ),
        (
            pool("gitlab", [], []) + "[pool.github]\n",
            "github: is a table of provider github, and this pool's is gitlab",
        ),
        (
            pool("github", ["agent_pool = 7"], []),
            '"github" agent_pool: must be a string, in quotes: "7"',
        ),
        (pool("github", ['app = "no good"'], []), "app: 'no good' is not an App's id"),
    ],
)
def test_a_mistake_is_told_where_it_was_written(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        ("local", "calls_per_hour = 500"),
        ("local", 'enrolment = "token"'),
        ("azure", 'enrolment = "token"'),
        ("gitlab", 'agent_pool = "gpu"'),
    ],
)
def test_a_key_that_never_meant_anything_is_still_taken(
    tmp_path: Path, provider: str, line: str
) -> None:
    table = [new for _, new in rows(provider)]
    found = read(tmp_path, pool(provider, [line], table))
    assert found == read(tmp_path, pool(provider, [], table))
    assert "has no meaning" in read(tmp_path, pool(provider, [line], table)).old_keys[0]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_file_from_another_system_is_read_and_its_mistakes_have_their_lines(
    tmp_path: Path, bom: bytes
) -> None:
    path = tmp_path / "config.toml"
    text = '[[pool]]\nname = "a"\nlabels = [\n "a",\n 7,\n "c",\n]\nslots = -1\n'
    path.write_bytes(bom + text.replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert [problem.line for problem in caught.value.problems] == [5, 8]


# -- migrating -------------------------------------------------------------------------------------


def migrate(text: str, known: dict[str, str] | None = None) -> str:
    return migrated(text, provider_keys(), known or {}, DEFAULT_PROVIDER)


def comments(text: str) -> Iterator[str]:
    return (line.partition("#")[2] for line in text.splitlines() if "#" in line)


def test_a_file_is_migrated_with_its_comments_and_once(tmp_path: Path) -> None:
    text = """\
# Our box.
[host]
name = "lab"   # as the services know it

[[pool]]       # the big one
name = "github"
provider = "github"
# where its runners are
url = "https://github.com/lab"  # the organisation
agent_pool = "gpu"
app_key = {  file = "/etc/app.pem" }   # root's
app = "12345"
slots = 2
labels = [
  "a",  # one
  "b",
]
# cuda = "12.8"

[pool.limits]
cpus = 2

[[pool]]
name = "local"
"""
    new = migrate(text)
    assert (
        new
        == """\
# Our box.
[host]
name = "lab"   # as the services know it

[[pool]]       # the big one
name = "github"
provider = "github"
slots = 2
labels = [
  "a",  # one
  "b",
]
# cuda = "12.8"

[pool.github]
# where its runners are
url = "https://github.com/lab"  # the organisation
runner_group = "gpu"
app.key = {  file = "/etc/app.pem" }   # root's
app.id = "12345"

[pool.limits]
cpus = 2

[[pool]]
name = "local"
"""
    )
    assert migrate(new) == new
    path = tmp_path / "config.toml"
    configs = []
    for one in (text, new):
        path.write_text(one)
        configs.append(load(path, environ={}).config)
    assert configs[0] == configs[1]
    assert configs[1].old_keys == ()


@pytest.mark.parametrize(("provider", "old", "new"), OLD, ids=ids)
def test_every_old_key_is_migrated_also_beside_new_ones(
    tmp_path: Path, provider: str, old: str, new: str
) -> None:
    others = [line for _, line in rows(provider) if line != new and not line.startswith("app.")]
    text = pool(provider, [old], others)
    assert tomllib.loads(migrate(text)) == tomllib.loads(pool(provider, [], [new, *others]))


def test_all_old_keys_are_migrated_together(tmp_path: Path) -> None:
    assert tomllib.loads(migrate(BEFORE)) == tomllib.loads(NOW)
    assert list(comments(migrate(BEFORE))) == list(comments(BEFORE))


def test_a_token_with_a_table_of_its_own_is_renamed() -> None:
    text = pool("azure", [], []) + '[pool.token]  # root\'s\nfile = "/etc/token"\n'
    assert migrate(text).endswith('[pool.azure.token]  # root\'s\nfile = "/etc/token"\n')


def test_a_drop_in_knows_its_provider_from_the_main_file() -> None:
    text = '[[pool]]\nname = "gpu"\nagent_pool = "b"\n'
    new = '[[pool]]\nname = "gpu"\n\n[pool.github]\nrunner_group = "b"\n'
    assert migrate(text, {"gpu": "github"}) == new


def test_what_lines_cannot_move_is_refused() -> None:
    with pytest.raises(Refused, match="a person has to rewrite"):
        migrate('pool = [{ name = "a", provider = "azure", url = "https://x" }]\n')


def test_what_is_migrated_is_no_trouble_however_it_is_written(tmp_path: Path) -> None:
    one = 'pool = [{ name = "a", provider = "azure", azure = { url = "https://x", agent_pool = "g" } }]\n'
    assert migrate(one) == one
    dotted = pool("gitlab", ['gitlab.url = "https://x"', 'token.file = "/t"  # why'], [])
    assert 'gitlab.url = "https://x"\ngitlab.token.file = "/t"  # why\n' in migrate(dotted)
    inline = pool("gitlab", ['gitlab = { url = "https://x" }', 'token = { file = "/t" }'], [])
    with pytest.raises(Refused, match=r"^6: token cannot be moved by lines"):
        migrate(inline)
    table = pool("gitlab", ['url = "https://x"'], []) + "[pool.enrolment]  # c\nx = 1\n"
    with pytest.raises(Refused, match=r"^6: enrolment cannot be moved by lines"):
        migrate(table)


def test_a_long_list_is_read_in_a_moment() -> None:
    entries = [f'  {{ a = "{number}" }},  # {number}' for number in range(4000)]
    text = pool("azure", ["labels = [", *entries, "]", 'url = "https://x"'], [])
    begun = time.process_time()
    assert list(comments(migrate(text))) == list(comments(text))
    # Reading it again for each line took minutes.
    assert time.process_time() - begun < 10


BEHIND = st.sampled_from(["", "  # c", "# c 'q' \"", " # a = [ # b", "\t# {} ]"])
OTHERS = [
    "slots = 2",
    'labels = ["a", "b#c"]',
    "labels = [  # c1\n  'x',  # c2\n  # c3\n  \"y#z\",\n]",
    'no_proxy = """\na # no comment\n"""',
    "dns = []",
]
IGNORED = {
    "azure": ['enrolment = "jit"', "enrolment = [ # c\n 1, # d\n '#',\n]"],
    "gitlab": ['agent_pool = "# x"', 'enrolment = """\n# x\n"""'],
    "github": [],
}


@st.composite
def pools(draw: st.DrawFn, provider: str) -> str:
    """A pool from before as somebody may have written it."""
    spelt = [old for old, _ in rows(provider)]
    spelt = [
        line.replace("token = { credential = ", "token.credential = ").rstrip(" }")
        if line.startswith("token") and draw(st.booleans())
        else line
        for line in spelt
    ]
    others = draw(st.lists(st.sampled_from(OTHERS), unique_by=lambda line: line.split(" ")[0]))
    ignored = draw(st.lists(st.sampled_from(IGNORED[provider] or [""]), max_size=1))
    lines = draw(st.permutations([f'provider = "{provider}"', *spelt, *others, *ignored]))
    out = ["[[pool]]" + draw(BEHIND), f'name = "{provider}"']
    for line in lines:
        out += draw(st.lists(st.sampled_from(["# above", "", "  # far"]), max_size=2))
        out.append(draw(st.sampled_from(["", "  "])) + line + draw(BEHIND))
    return "\n".join([*out, *draw(st.sampled_from([[], ["", "[pool.limits]  # c", "cpus = 2"]]))])


def every_comment(text: str) -> list[str]:
    """Of texts whose strings hold a mark only as written here."""
    text = text.replace("\r\n", "\n")
    for string in ('"b#c"', '"y#z"', '"# x"', "'#'", '"""\na # no comment\n"""', '"""\n# x\n"""'):
        text = text.replace(string, "")
    return sorted(found[0].rstrip() for found in re.finditer(r"#.*", text))


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_file_means_the_same_afterwards_and_keeps_its_comments_and_line_ends(
    data: st.DataObject,
) -> None:
    several = [data.draw(pools(provider)) for provider in ("azure", "github", "gitlab")]
    ends = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(["# head", *several, ""]).replace("\n", ends)
    new = migrate(text)
    assert every_comment(new) == every_comment(text)
    assert new.count("\n") == new.count(ends)
    assert migrate(new) == new
    now = {one["name"]: one for one in tomllib.loads(new)["pool"]}
    for one in tomllib.loads(NOW)["pool"]:
        assert now[one["name"]][one["name"]] == one[one["name"]]
        assert not set(one[one["name"]]) & set(now[one["name"]])
