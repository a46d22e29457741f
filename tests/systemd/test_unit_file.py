"""The unit as a file, judged by systemd where there is none running."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/mayfly.service"


def test_systemd_says_how_exposed_the_unit_is() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here")
    words = [tool, "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Overall exposure level for mayfly.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 2.0


def test_nvml_can_open_its_devices_whenever_the_driver_is_loaded() -> None:
    text = UNIT.read_text()
    assert "DevicePolicy=closed" in text
    assert "DeviceAllow=char-195 rw" in text, "by number: a name is looked up at the start alone"
    assert "PrivateDevices=no" in text


def test_every_address_but_multicast_can_be_asked() -> None:
    [line] = re.findall(r"^IPAddressAllow=(.*)$", UNIT.read_text(), re.MULTILINE)
    allowed = [ipaddress.ip_network(word) for word in line.split()]
    for whole, without in (
        ("0.0.0.0/0", ["224.0.0.0/4", "240.0.0.0/4"]),
        ("::/0", ["ff00::/8"]),
    ):
        everything = ipaddress.ip_network(whole)
        gaps = [ipaddress.ip_network(word) for word in without]
        nets = [net for net in allowed if net.version == everything.version]
        sizes = sum(net.num_addresses for net in (*nets, *gaps))
        assert sizes == everything.num_addresses, "nothing is left out, and nothing is there twice"
        assert not any(net.overlaps(gap) for net in nets for gap in gaps)


def test_the_timer_of_images_runs_and_stops_with_the_manager() -> None:
    timer, service = (
        UNIT.with_name("mayfly-refresh.timer"),
        UNIT.with_name("mayfly-refresh.service"),
    )
    [wanted] = re.findall(r"^Wants=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert timer.name in wanted.split()
    assert f"PartOf={UNIT.name}" in timer.read_text()
    assert "OnCalendar=" in timer.read_text()
    assert "ExecStart=/usr/local/bin/mayfly images refresh\n" in service.read_text()


def test_systemd_takes_the_units_beside_the_managers(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here")
    for name in ("mayfly-gateway.service", "mayfly-refresh.service", "mayfly-refresh.timer"):
        text = UNIT.with_name(name).read_text().replace("/usr/local/bin/mayfly", "/bin/true")
        (tmp_path / name).write_text(text)
    words = [tool, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "mayfly-" in line]
    assert (done.returncode, ours) == (0, [])


GATEWAY = UNIT.with_name("mayfly-gateway.service")


def test_the_gateway_is_wanted_by_the_manager_and_does_not_stop_with_it() -> None:
    [wanted] = re.findall(r"^Wants=(.*)$", UNIT.read_text(), re.MULTILINE)
    text = GATEWAY.read_text()
    assert GATEWAY.name in wanted.split()
    assert not re.search(r"^(PartOf|BindsTo|Requires)=", text, re.MULTILINE)
    for line in ("Type=notify", "WatchdogSec=60", "Restart=on-failure", "StateDirectoryMode=0700"):
        assert f"\n{line}\n" in text
    assert "ExecStart=/usr/local/bin/mayfly gateway\n" in text


def test_systemd_says_how_exposed_the_gateway_is() -> None:
    """It enters network namespaces, which takes more of root's powers than the manager has."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here")
    words = [tool, "security", "--offline=true", "--no-pager", str(GATEWAY)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Overall exposure level for mayfly-gateway.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 3.0
