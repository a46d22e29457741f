"""The pictures of the page's how-to, from a manager at work; kept where ``PICTURES`` says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.real.page.chromium import PHONE, Chromium
from tests.real.page.lab import HEADER, LabPage

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]
MOST = 250_000  # bytes of a picture


def test_each_picture_is_made_and_small(lab: LabPage, browser: Chromium, tmp_path: Path) -> None:
    place = Path(os.environ.get("PICTURES", tmp_path))
    _, first, *_ = lab.busy()
    lab.manager.cli("cordon", "cpu-0", "--note", "new disk on Friday")
    browser.named(HEADER, "root")
    browser.open(lab.address)
    browser.shows("#link", "live")
    browser.shows("#gpus", "not ours")
    browser.shows("#slots", "new disk on Friday")
    browser.look(1280, 900)
    browser.picture(place / "page.png", whole=True)
    browser.look(*PHONE, dark=True)
    browser.picture(place / "page-phone-dark.png")
    browser.look(1280, 700)
    browser.open(f"{lab.address}/jobs/{first}")
    browser.shows("#log", "step 3 ")
    browser.picture(place / "page-job.png")
    for name in ("page.png", "page-phone-dark.png", "page-job.png"):
        assert 5_000 < (place / name).stat().st_size < MOST, name
