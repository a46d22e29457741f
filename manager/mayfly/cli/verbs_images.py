"""``images``: which there are, which fits a host; building them, fetching those that the config names."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.image_building import PLAIN, build_image, version_of
from mayfly.cli.options import ConfigOption, JsonOption
from mayfly.cli.talk import config_path, print_json, say, terminal_width
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core import images
from mayfly.core.image_build import ImageBuild
from mayfly.core.plain_text import clean

if TYPE_CHECKING:
    from mayfly.core.images import Row, Version
    from mayfly.core.model import Config
    from mayfly.engines.protocol import Engine

images_app = typer.Typer(
    help="The agent images: which there are, which fits, building and fetching them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
ProviderOption = Annotated[
    str, typer.Option("--provider", metavar="NAME", help="Whose agent: local, azure, …")
]
HEADINGS = ("CUDA", "TOOLKIT", "DRIVER", "COMPUTE", "ARCHITECTURES", "DISTRIBUTIONS", "END OF LIFE")
ARCHITECTURES = ("amd64", "arm64")
OURS = "mayfly/"  # what the names of Mayfly's own images begin with


@images_app.command(name="list")
def list_images(*, as_json: JsonOption = False) -> None:
    """List every CUDA version that there are images for."""
    from mayfly.edge.catalogue import catalogue  # noqa: PLC0415

    rows = catalogue().rows
    if as_json:
        print_json({"schema": "mayfly.images/1", "images": [_told(row) for row in rows]})
        return
    from mayfly.cli.table import table  # noqa: PLC0415

    for line in table(HEADINGS, [_cells(row) for row in rows], terminal_width()):
        print(line)


def _told(row: Row) -> dict[str, object]:
    return {
        "cuda": images.text(row.cuda),
        "toolkit": row.release,
        "driver": row.driver,
        "compute": [images.text(capability) for capability in row.compute],
        "bases": {arch: dict(found) for arch, found in row.bases.items()},
        "end_of_life": row.end_of_life,
        "sources": list(row.sources),
    }


def _cells(row: Row) -> tuple[str, ...]:
    distributions = dict.fromkeys(name for found in row.bases.values() for name in found)
    return (
        images.text(row.cuda),
        row.release,
        f">= {row.driver}",
        f"{images.text(min(row.compute))} to {images.text(max(row.compute))}",
        ", ".join(row.bases),
        ", ".join(distributions),
        row.end_of_life,
    )


@images_app.command()
def select(
    *,
    cuda_driver: Annotated[
        str | None,
        typer.Option(metavar="X.Y", help="The highest CUDA that the driver runs (nvidia-smi)."),
    ] = None,
    compute: Annotated[
        list[str] | None,
        typer.Option(metavar="X.Y", help="A GPU's compute capability; may be repeated."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="amd64 or arm64.")
    ] = None,
    cuda: Annotated[
        str | None, typer.Option("--cuda", metavar="X.Y", help="This CUDA and no other.")
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="Allow minor-version compatibility.")
    ] = False,
    provider: ProviderOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Tell which image fits this host, or another: needs no manager, Engine or GPU for another."""
    from mayfly.edge.catalogue import architecture, catalogue  # noqa: PLC0415

    _known_provider(provider)
    if arch is not None and arch not in ARCHITECTURES:
        raise Usage(f"--arch: there is no {arch!r}; there are {', '.join(ARCHITECTURES)}")
    driver, capabilities = _host(cuda_driver, compute)
    choice = images.select(
        catalogue(),
        driver,
        capabilities,
        arch or architecture(),
        provider=provider,
        pinned=version_of(cuda, "--cuda") if cuda is not None else None,
        compat=compat,
    )
    if as_json:
        print_json(
            {
                "schema": "mayfly.images-select/1",
                "cuda": choice.cuda,
                "image": choice.image,
                "reason": choice.reason,
                "refused": [{"cuda": row, "reason": reason} for row, reason in choice.refused],
            }
        )
    elif choice.image is not None:
        print(choice.image)
        say(choice.reason)
    else:
        say(choice.reason)
        for row, reason in choice.refused:
            say(f"  {row}: {reason}")
    raise typer.Exit(0 if choice.image is not None else 1)


def _known_provider(name: str) -> None:
    from mayfly.providers.installed import packages  # noqa: PLC0415  only these two verbs need it

    if name not in packages():
        raise Usage(f"--provider: there is no {name!r}; there are {', '.join(packages())}")


def _host(driver: str | None, compute: list[str] | None) -> tuple[Version, list[Version]]:
    """The host that is asked for; what is not said is read from this one."""
    given = [version_of(word, "--compute") for text in compute or () for word in text.split(",")]
    if driver is not None:
        return version_of(driver, "--cuda-driver"), given
    if compute:
        raise Usage("--compute is of another host: say its --cuda-driver too")
    from mayfly.cli.host_hardware import hardware  # noqa: PLC0415

    found = hardware()
    if found.gpus is None or found.cuda is None:
        why = found.unknown or "the driver does not say which CUDA it runs"
        raise Trouble(f"{why}; for another host say --cuda-driver and --compute")
    return found.cuda, [gpu.capability for gpu in found.gpus if gpu.capability is not None]


@images_app.command()
def build(
    ctx: typer.Context,
    wanted: Annotated[
        list[str], typer.Argument(metavar="IMAGE…", help="cpu, wheels, or a CUDA such as 12.8.")
    ],
    *,
    provider: ProviderOption = "local",
    flavour: Annotated[
        str | None,
        typer.Option(help="Of CUDA's base image: base, runtime or devel; devel if absent."),
    ] = None,
    distribution: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Such as ubuntu22.04; the first of the list if absent."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Build on this image instead.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="NAME", help="Call it so; mayfly/PROVIDER:… if absent."),
    ] = None,
    uid: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="The number of the job user.")
    ] = 1000,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A further build argument.")
    ] = None,
    docker_host: Annotated[
        str | None, typer.Option(metavar="URL", help="The Engine; the configuration's if absent.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build every layer anew.")] = False,
    config: ConfigOption = None,
) -> None:
    """Build agent images on this host's Engine, showing the progress."""
    _known_provider(provider)
    for option, given in (("--flavour", flavour), ("--distribution", distribution)):
        if given is not None and (base is not None or all(name in PLAIN for name in wanted)):
            raise Usage(f"{option} chooses a base image of CUDA, and none is wanted here")
    if tag is not None and (len(wanted) > 1 or not _is_tag(tag)):
        raise Usage(
            f"--tag is the name of one image, such as lab/torch:2.5, and {len(wanted)} are to be built"
            if len(wanted) > 1
            else f"--tag {clean(tag)} is not an image's name, such as lab/torch:2.5"
        )
    if flavour not in {None, "base", "runtime", "devel"}:
        raise Usage("--flavour must be base, runtime or devel")
    if docker_host is not None and not docker_host.startswith("unix:///"):
        raise Usage(f'--docker-host: {docker_host!r} must be a unix socket, "unix:///PATH"')
    found = _configured(config_path(ctx, config), provider)
    host = docker_host or _engine_of(found)
    further = dict(_pair(word) for word in build_arg or ())
    options = ["--no-cache"] if no_cache else []
    for name in wanted:
        plan = ImageBuild(name, provider, flavour, distribution, base, uid, further)
        print(build_image(plan, found, host, tag=tag, options=options), flush=True)


@images_app.command()
def refresh(
    ctx: typer.Context,
    *,
    within: Annotated[
        float,
        typer.Option(min=0, max=365, metavar="DAYS", help="Build what is refused in so many days."),
    ] = 10.0,
    newest: Annotated[
        bool, typer.Option("--newest", help="Build whatever is not the newest.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be built.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Build images again whose runner or agent its service will refuse soon; the timer does it daily."""
    from mayfly.cli import image_refreshing  # noqa: PLC0415
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415

    found = load_config(config_path(ctx, config)).config
    with translated():
        image_refreshing.refresh(found, within=within, newest=newest, dry_run=dry_run)


def _is_tag(name: str) -> bool:
    """Whether an image can be called so: nobody chooses a digest."""
    from mayfly.core.job_images import NAME  # noqa: PLC0415

    return re.fullmatch(NAME, name) is not None and "@" not in name


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise Usage(f"--build-arg {word!r} is not NAME=VALUE")
    return name, value


def _configured(path: str | None, provider: str) -> Config | None:
    """The configuration; ``None`` where there is none yet and nobody named one.

    One with a mistake is a ``Trouble``, unless nothing of it is needed.
    """
    from mayfly.cli.loading import load_config  # noqa: PLC0415
    from mayfly.edge.sources import DEFAULT_FILE  # noqa: PLC0415
    from mayfly.providers.installed import packages  # noqa: PLC0415

    try:
        return load_config(path).config
    except Trouble:
        if path is not None or (not packages()[provider].embedded and DEFAULT_FILE.exists()):
            raise
        return None


def _engine_of(config: Config | None) -> str:
    """The Engine that the configuration names; without one, the one that ``init`` would take."""
    from mayfly.core.model import HostSpec  # noqa: PLC0415

    if config is not None:
        return config.host.docker_host
    named = os.environ.get("DOCKER_HOST", "")
    return named if named.startswith("unix:///") else HostSpec("").docker_host


def missing(config: str) -> list[tuple[str, str]]:
    """Provider and name of each image of ours that a configuration wants and its Engine does not have."""
    from mayfly.cli.host_hardware import hardware_for  # noqa: PLC0415
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415
    from mayfly.core.desire import references  # noqa: PLC0415
    from mayfly.engines import load as load_engine  # noqa: PLC0415

    found = load_config(config).config
    wanted = sorted(references(found, hardware_for(found)))
    with translated():
        engine = load_engine(found.host)
        lacking = [name for name in wanted if engine.image(name) is None]
    split = [name.removeprefix(OURS).partition(":") for name in lacking if name.startswith(OURS)]
    return [(provider, tag.removeprefix("cuda")) for provider, _, tag in split]


@images_app.command()
def pull(
    ctx: typer.Context,
    *,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="REGISTRY", help="Where the mayfly/ images are kept."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Fetch the images that the configuration names, each from its registry."""
    from mayfly.cli.host_hardware import hardware_for  # noqa: PLC0415
    from mayfly.cli.loading import load_config  # noqa: PLC0415
    from mayfly.core.desire import references  # noqa: PLC0415
    from mayfly.edge.faults import Fault  # noqa: PLC0415
    from mayfly.engines import load as load_engine  # noqa: PLC0415

    found = load_config(config_path(ctx, config)).config
    hardware = hardware_for(found)
    if hardware.gpus is None and any(pool.gpus != 0 for pool in found.pools):
        say(f"which images the GPUs want is not known: {hardware.unknown}")
    failed = []
    engine = load_engine(found.host)
    for name in sorted(references(found, hardware)):
        try:
            print(_fetched(engine, found.host.docker_host, name, source), flush=True)
        except Fault as fault:
            say(str(fault))
            failed.append(name)
    if failed:
        raise Trouble(f"no agent can be made of {', '.join(failed)}")


def _fetched(engine: Engine, docker_host: str, name: str, registry: str | None) -> str:
    """Fetch an image and see that an agent can be made of it; returns the line that names its digest.

    No registry is asked for Mayfly's own names unless one is named: whoever has `mayfly` on Docker Hub
    would have their code run here with our enrolments.
    """
    from mayfly.core.desire import ImageSeen, unfit  # noqa: PLC0415
    from mayfly.edge.faults import Refused  # noqa: PLC0415
    from mayfly.engines.docker import builder  # noqa: PLC0415

    ours = name.startswith(OURS)
    if not ours or registry is not None:
        origin = f"{registry}/{name.removeprefix(OURS)}" if ours else name
        say(f"fetching {origin}")
        began = time.monotonic()
        builder.pull(docker_host, origin, name)
        say(f"{origin} was fetched in {time.monotonic() - began:.1f} s")
    seen = engine.image(name)
    if seen is None:
        raise Refused(
            f"image {name} is in no registry that is known: `mayfly images build`, or name yours with --from"
        )
    problem = unfit(name, ImageSeen.labelled(seen.id, seen.labels))
    if problem is not None:
        raise Refused(problem)
    if ours and registry is None:
        say(f"{name} was not fetched: it is here already, and its name leads to no registry")
    return " ".join((name, *(digest.rpartition("@")[2] for digest in seen.digests[:1])))
