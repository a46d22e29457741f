"""What may be said of checks of GPUs in the configuration, and what is said of what may not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mayfly.core.gpu_checks import CHECKS, CheckSetting, CheckSeverity
from mayfly.edge.config_text import config_lines
from mayfly.edge.gpu_check_values import settings
from mayfly.providers.configuration import load


def read(text: str) -> dict[str, CheckSetting]:
    return settings(tomllib.loads(text))


def test_each_check_may_be_set_in_each_way() -> None:
    for code, check in CHECKS.items():
        for severity in CheckSeverity:
            if check.fixed and severity is not CheckSeverity.HOLD:
                continue
            assert read(f'"{code}" = "{severity}"') == {code: CheckSetting(severity)}
        if check.threshold is not None:
            both = CheckSetting(CheckSeverity.WARN, 20.5)
            text = f'"{code}" = {{ severity = "warn", threshold = 20.5 }}'
            assert read(text) == {code: both}


def test_a_code_without_quotes_is_the_same() -> None:
    assert read('gpu.xid = "warn"') == read('"gpu.xid" = "warn"')
    assert read('gpu.xid.69 = "off"') == read('"gpu.xid.69" = "off"')
    assert read("gpu.memory_kept.threshold = 3") == read('"gpu.memory_kept" = { threshold = 3 }')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"gpu.termal_slowdown" = "off"', "did you mean gpu.thermal_slowdown?"),
        ('gpu.xidd = "off"', "there is no check 'gpu.xidd'; did you mean gpu.xid?"),
        ('"gpu.xid.0" = "off"', "there is no check 'gpu.xid.0'"),
        ('"gpu.xid" = "warning"', "not 'warning'; did you mean warn?"),
        ('"gpu.xid" = 3', 'must be "hold", "warn", "off", or a table'),
        ('"gpu.xid" = true', 'must be "hold", "warn", "off", or a table'),
        ('"gpu.xid" = {}', "must be"),
        ('"gpu.xid" = { severity = ["off"] }', "must be"),
        ('"gpu.xid" = { level = "off" }', "'level' is neither"),
        ('"gpu.xid" = { threshold = 3 }', "gpu.xid has no threshold"),
        ('"gpu.xid.79" = { threshold = 3 }', "gpu.xid.79 has no threshold"),
        ('"gpu.memory_kept" = { threshold = "3" }', "must be a number, in MiB"),
        ('"gpu.memory_kept" = { threshold = -1 }', "from 0"),
        ('"gpu.memory_kept" = { threshold = nan }', "from 0"),
        ('"gpu.lost" = "off"', "gpu.lost always holds the slot"),
        ('"gpu.gone" = { severity = "warn" }', "gpu.gone always holds the slot"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        read(text)
    assert says in str(caught.value)


def test_a_file_says_where_and_is_shown_as_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    pool = '[[pool]]\nname = "a"\n'
    file.write_text(f'[host]\nname = "lab"\n[host.gpu_checks]\n"gpu.xidd" = "off"\n{pool}')
    with pytest.raises(Exception, match=r"config\.toml:3: \[host\] gpu_checks: there is no check"):
        load(file, environ={})
    said = '"gpu.xid" = "warn"\n"gpu.ecc_corrected" = { severity = "hold", threshold = 7 }\n'
    file.write_text(f'[host]\nname = "lab"\n[host.gpu_checks]\n{said}{pool}')
    found = load(file, environ={}).config
    file.write_text("\n".join(config_lines(found, None)))
    assert load(file, environ={}).config.host.gpu_checks == found.host.gpu_checks
    before = load(file, environ={}).config.host
    assert before.reread(found.host)[1] == (), "it is read anew while a manager runs"
