"""Building one agent image on this host: its base, its client, its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core import images
from mayfly.core.image_build import ARGUMENTS, ImageBuild
from mayfly.core.model import LABEL_BUILD, LABEL_CUDA, HostSpec

if TYPE_CHECKING:
    from mayfly.core.images import Catalogue, Version
    from mayfly.core.model import Config

PLAIN = ("cpu", "wheels")
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def build_image(
    plan: ImageBuild,
    config: Config | None,
    docker_host: str,
    *,
    tag: str | None = None,
    options: Sequence[str] = (),
) -> str:
    """Build it and return what it is called; ``config`` is asked for its pools' services and proxies.

    Which client goes in is asked of the service, unless ``plan.arguments`` say it. A ``Trouble`` where it is
    not built.
    """
    from mayfly.cli import client_choice  # noqa: PLC0415  reads providers
    from mayfly.cli.loading import translated  # noqa: PLC0415
    from mayfly.edge.catalogue import architecture, catalogue  # noqa: PLC0415
    from mayfly.engines.docker import builder  # noqa: PLC0415
    from mayfly.providers.installed import package  # noqa: PLC0415

    arch = architecture()
    found = plan.base or base_of(
        catalogue(), plan.name, arch, plan.flavour or "devel", plan.distribution
    )
    target, own, labels = target_of(plan.name, plan.provider)
    called = tag or own
    choice = client_choice.chosen(plan.provider, plan.arguments, config, arch)
    described = package(plan.provider)
    of_client = client_choice.own_arguments(described.client if described is not None else None)
    kept = {name: value for name, value in plan.arguments.items() if name in ARGUMENTS - of_client}
    built = replace(plan, arguments=kept, tag=called)
    labels = {**labels, **choice.labels, LABEL_BUILD: built.label()}
    arguments = {
        "UID": str(plan.uid),
        **({"BASE": found} if found else {}),
        **_proxies(plan.provider, config),
        **_docker(plan.provider, config),
        **choice.arguments,
        **plan.arguments,
    }
    say(f"building {called}" + (f" on {found}" if found else ""))
    with translated():
        code = builder.build(
            docker_host,
            target=target,
            tag=called,
            arguments=arguments,
            labels=labels,
            options=options,
        )
    if code != 0:
        raise Trouble(
            f"{called} was not built: docker ended with {code}, its reason is above. Without a network "
            "nothing can be fetched, by a proxy that looks into TLS only on a base that trusts it; a base "
            "image that NVIDIA has deleted is named anew with --base"
        )
    if described is not None and described.client is not None:
        _remember(config, docker_host, built)
    return called


def _remember(config: Config | None, docker_host: str, built: ImageBuild) -> None:
    """Keep how it was built, so that ``images refresh`` may do it again; where that cannot be, it is said."""
    from mayfly.edge import build_records  # noqa: PLC0415
    from mayfly.edge.faults import Fault  # noqa: PLC0415
    from mayfly.engines.docker import builder  # noqa: PLC0415

    state = Path((config.host if config is not None else HostSpec("host")).state_dir)
    try:
        image = builder.built(docker_host, str(built.tag), LABEL_BUILD, built.label())
        build_records.note(state, image, built)
    except Fault as fault:
        say(f"`mayfly images refresh` will not build {built.tag} again: {fault}")


def _proxies(provider: str, config: Config | None) -> Mapping[str, str]:
    """The proxy of the provider's pools, for what a build fetches: docker keeps it out of the image."""
    for pool in config.pools if config is not None else ():
        if pool.provider == provider and pool.proxy is not None:
            without = (
                dict.fromkeys(("no_proxy", "NO_PROXY"), pool.no_proxy) if pool.no_proxy else {}
            )
            return {**dict.fromkeys(PROXIES, pool.proxy), **without}
    return {}


def _docker(provider: str, config: Config | None) -> Mapping[str, str]:
    """That Docker's client goes in, where jobs of a pool of the provider's may have containers."""
    from mayfly.providers.installed import package  # noqa: PLC0415

    found = package(provider)
    if found is not None and not found.calls_docker:
        return {}
    pools = config.pools if config is not None else ()
    wanted = any(pool.containers for pool in pools if pool.provider == provider)
    return {"DOCKER": "yes"} if wanted else {}


def base_of(
    known: Catalogue, name: str, arch: str, flavour: str, distribution: str | None
) -> str | None:
    """The image to build on; ``None``: the Dockerfile's own."""
    if name in PLAIN:
        return None
    row = known.row(version_of(name, "IMAGE"))
    if row is None:
        there = ", ".join(images.text(entry.cuda) for entry in known.rows)
        raise Usage(f"CUDA {name} is not in the catalogue, which has {there}; or name a --base")
    bases = row.bases.get(arch, {})
    if not bases:
        raise Trouble(f"there is no image of CUDA {name} for {arch}")
    if distribution is None:
        return next(iter(bases.values())).format(flavour=flavour)
    if distribution not in bases:
        raise Usage(f"CUDA {name} has no {distribution}: it has {', '.join(bases)}")
    return bases[distribution].format(flavour=flavour)


def target_of(name: str, provider: str) -> tuple[str, str, dict[str, str]]:
    """The Dockerfile's target, the tag and the labels of an image."""
    if name == "wheels":
        if provider != "local":
            raise Usage("wheels is of provider local; for another, set PACKAGES when building cpu")
        return "local-wheels", "mayfly/local:wheels", {}
    if name == "cpu":
        return provider, images.reference(provider, None), {}
    version_of(name, "IMAGE")
    return provider, images.reference(provider, name), {LABEL_CUDA: name}


def version_of(text: str, option: str) -> Version:
    """A CUDA version as a person gave it; ``Usage`` where it is none."""
    try:
        return images.parse(text.strip())
    except ValueError as error:
        raise Usage(f"{option}: {error}") from error
