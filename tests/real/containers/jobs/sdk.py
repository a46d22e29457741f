"""What Docker's own SDK for Python does with the socket that it finds, step by step.

python3 -m tests.real.containers.jobs.sdk IMAGE
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from typing import Any

import docker


def packed(name: str, text: str) -> bytes:
    """An archive of one file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    return whole.getvalue()


def unpacked(pieces: Any, name: str) -> str:
    """That file of an archive."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read().decode()


def main() -> None:
    """All steps, in one document."""
    image, client = sys.argv[1], docker.from_env()
    told: dict[str, Any] = {"ping": client.ping()}
    told["run"] = client.containers.run(image, ["echo", "hello"], remove=True).decode()
    try:
        client.containers.run(image, ["sh", "-c", "echo no >&2; exit 7"], remove=True)
    except docker.errors.ContainerError as error:
        told["failed"] = [error.exit_status, error.stderr.decode()]
    network = client.networks.create("sdk-net", labels={"of": "sdk"})
    volume = client.volumes.create("sdk-vol", labels={"of": "sdk"})
    one = client.containers.run(
        image,
        ["sh", "-c", "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo line $i; done; sleep 1000"],
        name="sdk-one",
        network="sdk-net",
        volumes={"sdk-vol": {"bind": "/v", "mode": "rw"}},
        environment={"WORD": "spoken"},
        labels={"of": "sdk"},
        detach=True,
        init=True,
    )
    followed = one.logs(stream=True, follow=True)
    lines = b""
    while lines.count(b"\n") < 5:
        lines += next(followed)
    told["logs"] = lines.decode().splitlines()
    done = one.exec_run(["sh", "-c", "echo $WORD; echo e >&2; exit 3"], demux=True)
    told["exec"] = [done.exit_code, *(stream.decode() for stream in done.output)]
    told["put"] = one.put_archive("/v", packed("file", "carried"))
    told["got"] = unpacked(one.get_archive("/v/file")[0], "file")
    told["top"] = any("sleep" in " ".join(row) for row in one.top()["Processes"])
    told["stats"] = "memory_stats" in one.stats(stream=False)
    told["named"] = client.containers.get("sdk-one").id == one.id
    told["list"] = [it.name for it in client.containers.list(filters={"label": "of=sdk"})]
    told["reached"] = client.containers.run(
        image, ["getent", "hosts", "sdk-one"], network="sdk-net", remove=True
    ).decode()
    told["network"] = [it.name for it in client.networks.list(names=["sdk-net"])]
    told["volume"] = [it.name for it in client.volumes.list(filters={"label": "of=sdk"})]
    one.stop(timeout=1)
    told["wait"] = one.wait()["StatusCode"]
    told["attrs"] = [one.attrs["Name"], one.attrs["Config"]["Labels"]]
    one.remove(v=True)
    network.remove()
    volume.remove()
    told["left"] = [
        len(client.containers.list(all=True)),
        [it.name for it in client.volumes.list()],
    ]
    told["image"] = client.images.get(image).tags
    try:
        client.containers.create(image, privileged=True)
    except docker.errors.APIError as error:
        told["refused"] = error.explanation
    print(json.dumps(told))


if __name__ == "__main__":
    main()
