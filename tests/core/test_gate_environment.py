"""Whatever a pool or an image sets, what root runs at the gate has none of it under its own name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.gate_environment import ASIDE, NAMES, at_gate, harmless

OWN = {"MAYFLY_GENERATION": "g", "MAYFLY_GROUPS": "", "NVIDIA_VISIBLE_DEVICES": "void"}
LEADING = (
    *(
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "GLIBC_TUNABLES",
        "GCONV_PATH",
        "LOCPATH",
        "ENV",
    ),
    *("BASH_ENV", "TAR_OPTIONS", "SHELLOPTS", "PS4", "IFS", "LANG", "TMPDIR", "HOSTALIASES", "FOO"),
)
NAME = st.sampled_from(
    (*LEADING, "PATH", "https_proxy", "HTTP_PROXY", "SSL_CERT_FILE", "NVIDIA_REQUIRE_CUDA", "A")
)
IMAGES = st.dictionaries(
    NAME
    | st.sampled_from(("MAYFLY_GROUPS", "MAYFLY_SUDO", "MAYFLY_ENV_LD_PRELOAD", "BASH_FUNC_x%%")),
    st.text("ab =\n'", max_size=4),
)


@pytest.mark.parametrize("name", LEADING)
def test_what_leads_a_program_is_not_harmless(name: str) -> None:
    assert not harmless(name)


def test_the_pools_comes_before_the_images_and_the_gates_own_before_both() -> None:
    image = {
        "LD_LIBRARY_PATH": "/image",
        "PATH": "/image/bin",
        "MAYFLY_GROUPS": "0",
        "BASH_FUNC_x%%": "()",
    }
    image |= {"MAYFLY_ENV_LD_PRELOAD": "/x.so", "LANG": "C"}
    pool = {"LD_LIBRARY_PATH": "/pool", "PATH": "/pool/bin", "FOO": "1"}
    assert at_gate(OWN, pool, image) == {
        **OWN,
        "LD_LIBRARY_PATH": None,
        "BASH_FUNC_x%%": None,
        "MAYFLY_ENV_LD_PRELOAD": None,
        "LANG": None,
        "PATH": "/pool/bin",
        "MAYFLY_ENV_LD_LIBRARY_PATH": "/pool",
        "MAYFLY_ENV_LANG": "C",
        "MAYFLY_ENV_FOO": "1",
        NAMES: "LD_LIBRARY_PATH LANG FOO",
    }


@pytest.mark.parametrize(
    "name",
    [
        *(
            "NVIDIA_NVSWITCH",
            "NVIDIA_GDS",
            "NVIDIA_MOFED",
            "NVIDIA_GDRCOPY",
            "NVIDIA_IMEX_CHANNELS",
        ),
        *("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_OF_TOMORROW"),
    ],
)
def test_an_image_asks_the_runtime_for_no_device_and_a_pool_may(name: str) -> None:
    image = {name: "all", "NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_REQUIRE_CUDA": "cuda>=12"}
    made = image | at_gate(OWN, {}, image)
    assert made[name] is None
    assert made["NVIDIA_VISIBLE_DEVICES"] == OWN["NVIDIA_VISIBLE_DEVICES"]
    assert made["NVIDIA_REQUIRE_CUDA"] == "cuda>=12"
    assert at_gate(OWN, {name: "enabled"}, image)[name] == "enabled"


@given(st.dictionaries(NAME, st.text("ab =\n'", max_size=4)), IMAGES)
def test_nothing_that_leads_a_program_has_its_own_name_and_all_of_it_reaches_the_job(
    pool: dict[str, str], image: dict[str, str]
) -> None:
    made = at_gate(OWN, pool, image)
    # As the Engine does it: what is not named keeps what the image says.
    seen = {name: value for name, value in (image | made).items() if value is not None}
    assert {name for name in seen if not harmless(name) and not name.startswith("MAYFLY_")} == set()
    assert {name: seen[name] for name in OWN} == OWN
    names = (seen[NAMES] or "").split()
    assert {name for name in seen if name.startswith(ASIDE)} == {f"{ASIDE}{name}" for name in names}
    job = {name: seen[f"{ASIDE}{name}"] for name in names}
    job |= {name: value for name, value in seen.items() if harmless(name) and name not in OWN}
    usable = {
        name: value
        for name, value in image.items()
        if name in LEADING or name == "A" or harmless(name)
    }
    assert job == usable | pool
