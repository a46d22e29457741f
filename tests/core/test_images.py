"""Which image fits which host: the catalogue that Mayfly carries, row by row, each with its source.

R: NVIDIA's table of toolkits and drivers, https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/ (a driver
   runs every toolkit up to its own CUDA; with limits, newer ones of the same major version)
G: which capabilities a toolkit's compiler knows (GPU feature list),
   https://docs.nvidia.com/cuda/archive/VERSION/cuda-compiler-driver-nvcc/: 13.0 begins at 7.5, 12.0 at 5.0;
   8.9 and 9.0 came with 11.8, 10.0 and 12.0 with 12.8, 10.3 and 12.1 with 12.9
D: what each GPU's capability is, https://developer.nvidia.com/cuda-gpus
"""

from __future__ import annotations

import re

import pytest

from mayfly.core.images import Catalogue, Version, parse, reference, select, text
from mayfly.edge.catalogue import catalogue, read

CATALOGUE = catalogue()
NEWEST = CATALOGUE.rows[0].cuda

# what, highest CUDA of the driver, capabilities, architecture -> CUDA chosen (None: none), source
HOSTS: list[tuple[str, str, str, str, str | None, str]] = [
    ("H100, R520", "11.8", "9.0", "amd64", "11.8", "R, G: the first that knows 9.0"),
    ("H100, R525", "12.0", "9.0", "amd64", "11.8", "R: 12.0 has no image here, 11.8 runs"),
    ("H100, R535", "12.2", "9.0", "amd64", "12.2", "R: 535.54.03"),
    ("H100, R550", "12.4", "9.0", "amd64", "12.4", "R: 550.54.14"),
    ("H100, R555", "12.5", "9.0", "amd64", "12.4", "R: 12.5 has no image here"),
    ("H100, R560", "12.6", "9.0", "amd64", "12.6", "R: 560.28.03"),
    ("H100, R565", "12.7", "9.0", "amd64", "12.6", "R: there is no toolkit 12.7"),
    ("H100, R570", "12.8", "9.0", "amd64", "12.8", "R: 570.26"),
    ("H100, R575", "12.9", "9.0", "amd64", "12.9", "R: 575.51.03"),
    ("H100, R580", "13.0", "9.0", "amd64", "13.0", "R: 580.65.06"),
    ("H100, R590", "13.1", "9.0", "amd64", "13.1", "R: 590.44.01"),
    ("H100, R595", "13.2", "9.0", "amd64", "13.2", "R: 595.45.04"),
    ("H100, R610", "13.3", "9.0", "amd64", "13.3", "R: 610.43.02"),
    ("H100, R615", "13.4", "9.0", "amd64", "13.4", "R: R615"),
    ("GH200, R580", "13.0", "9.0", "arm64", "13.0", "R, D: arm64 images are multi-arch"),
    ("A100, R450", "11.0", "8.0", "amd64", None, "R: images before 11.8 were deleted"),
    ("A100, R520", "11.8", "8.0", "amd64", "11.8", "R, D"),
    ("T4, R580", "13.0", "7.5", "amd64", "13.0", "G: 13.0 begins at 7.5"),
    ("V100, R580", "13.0", "7.0", "amd64", "12.9", "G: 13.0 dropped 7.0"),
    ("P100, R580", "13.0", "6.0", "amd64", "12.9", "G: 13.0 dropped 6.0"),
    ("GTX 1080, R535", "12.2", "6.1", "amd64", "12.2", "R, D"),
    ("K80, R470", "11.4", "3.7", "amd64", None, "R: R470 is the last for Kepler"),
    ("K80, if a driver ran it", "12.2", "3.7", "amd64", "11.8", "G: 12.0 begins at 5.0"),
    ("L4, R520", "11.8", "8.9", "amd64", "11.8", "G: the first that knows 8.9"),
    ("RTX 4090, R570", "12.8", "8.9", "amd64", "12.8", "R, D"),
    ("B200, R560", "12.6", "10.0", "amd64", None, "G: 10.0 came with 12.8"),
    ("B200, R570", "12.8", "10.0", "amd64", "12.8", "G"),
    ("B300, R570", "12.8", "10.3", "amd64", None, "G: 10.3 came with 12.9"),
    ("B300, R575", "12.9", "10.3", "amd64", "12.9", "G"),
    ("RTX 5090, R570", "12.8", "12.0", "amd64", "12.8", "G: 12.0 came with 12.8"),
    ("GB10, R580", "13.0", "12.1", "arm64", "13.0", "G"),
    ("GB10, R575", "12.9", "12.1", "arm64", "12.9", "G: 12.1 came with 12.9"),
    ("V100 and H100, R580", "13.0", "7.0 9.0", "amd64", "12.9", "G: both have to be known"),
    ("V100 and RTX 5090, R580", "13.0", "7.0 12.0", "amd64", "12.9", "G"),
    ("Power 9, R550", "12.4", "7.0", "ppc64le", None, "no image of the catalogue for ppc64le"),
]


def capabilities(words: str) -> list[Version]:
    return [parse(word) for word in words.split()]


@pytest.mark.parametrize(
    ("what", "driver", "compute", "arch", "expected", "source"),
    HOSTS,
    ids=[f"{what}, {arch}" for what, _, _, arch, _, _ in HOSTS],
)
def test_a_host_gets_the_newest_cuda_that_all_of_it_takes(
    what: str, driver: str, compute: str, arch: str, expected: str | None, source: str
) -> None:
    choice = select(CATALOGUE, parse(driver), capabilities(compute), arch)
    assert choice.cuda == expected, (what, source, choice.reason)
    assert choice.image == (f"mayfly/local:cuda{expected}" if expected else None)


@pytest.mark.parametrize(
    ("driver", "compute", "pinned", "compat", "expected"),
    [
        ("12.8", "9.0", "12.4", False, "12.4"),
        ("12.8", "9.0", "12.8", False, "12.8"),
        ("12.4", "9.0", "12.8", False, None),
        ("12.4", "9.0", "12.8", True, "12.8"),
        ("12.4", "9.0", "13.0", True, None),
        ("12.4", "9.0", None, True, "12.9"),
        ("13.0", "7.0", None, True, "12.9"),
        ("13.0", "9.0", None, True, text(NEWEST)),
        ("12.8", "9.0", "12.7", False, None),
    ],
)
def test_a_pinned_cuda_is_that_or_none_and_compatibility_stays_within_a_major_version(
    driver: str, compute: str, pinned: str | None, compat: bool, expected: str | None
) -> None:
    choice = select(
        CATALOGUE,
        parse(driver),
        capabilities(compute),
        "amd64",
        pinned=parse(pinned) if pinned else None,
        compat=compat,
    )
    assert choice.cuda == expected, choice.reason


def test_each_newer_cuda_that_was_passed_over_has_its_reason() -> None:
    choice = select(CATALOGUE, (13, 0), [(7, 0)], "amd64")
    refused = dict(choice.refused)
    assert list(refused) == [text(row.cuda) for row in CATALOGUE.rows if row.cuda > (12, 9)]
    assert refused["13.0"] == "CUDA 13.0 has dropped compute capability 7.0: it begins at 7.5"
    assert refused["13.1"].startswith("the driver runs CUDA up to 13.0; CUDA 13.1 wants driver 590")


def test_a_pin_that_does_not_fit_says_why_in_its_own_words() -> None:
    choice = select(CATALOGUE, (12, 4), [(9, 0)], "amd64", pinned=(12, 8))
    assert (
        choice.reason == "the driver runs CUDA up to 12.4; CUDA 12.8 wants driver 570.26 or newer"
    )


def test_the_catalogue_has_the_versions_that_are_asked_for_and_the_newest() -> None:
    cudas = {text(row.cuda) for row in CATALOGUE.rows}
    assert cudas >= {"11.8", "12.2", "12.4", "12.6", "12.8", "12.9", "13.0"}
    assert [row.cuda for row in CATALOGUE.rows] == sorted(
        (row.cuda for row in CATALOGUE.rows), reverse=True
    )


@pytest.mark.parametrize("row", CATALOGUE.rows, ids=lambda row: text(row.cuda))
def test_a_row_is_whole(row: object) -> None:
    (found,) = [known for known in CATALOGUE.rows if known is row]
    assert found.release.startswith(f"{text(found.cuda)}.")
    assert re.fullmatch(r"\d+(\.\d+)*", found.driver)
    assert found.sources
    assert all(source.startswith("https://") for source in found.sources)
    assert found.end_of_life
    assert set(found.bases) == {"amd64", "arm64"}
    for distributions in found.bases.values():
        for name, base in distributions.items():
            assert base == f"docker.io/nvidia/cuda:{found.release}-{{flavour}}-{name}"


def test_a_provider_s_image_is_named_after_it() -> None:
    assert reference("azure", "12.8") == "mayfly/azure:cuda12.8"
    assert reference("local", None) == "mayfly/local:cpu"
    assert select(CATALOGUE, (12, 8), [(9, 0)], "amd64", provider="github").image == (
        "mayfly/github:cuda12.8"
    )


def test_an_empty_catalogue_fits_nothing() -> None:
    assert select(Catalogue(), (12, 8), [(9, 0)], "amd64").image is None
    assert read({"image": []}) == Catalogue()


@pytest.mark.parametrize("word", ["12", "12.8.1", "a.b", "", "12.-8"])
def test_what_is_no_version_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        parse(word)
