"""Claims of devices as an API server has them (resource.k8s.io/v1), each given the next device at once."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
DRIVER, NODE = "gpu.fake", "node-1"


def uuid_of(number: int) -> str:
    """What its driver says that device is."""
    return f"GPU-fake-{number}"


class FakeClaims:
    """Those of a namespace; whoever calls has the cluster's lock."""

    def __init__(self) -> None:
        self.there: dict[str, Document] = {}
        self._given = 0

    def create(self, document: Document) -> Document | None:
        """``None``: there is one of that name."""
        name = document["metadata"]["name"]
        if name in self.there:
            return None
        count = document["spec"]["devices"]["requests"][0]["exactly"]["count"]
        results = [
            {"driver": DRIVER, "pool": NODE, "device": f"gpu-{self._given + number}"}
            for number in range(count)
        ]
        self._given += count
        document["metadata"]["uid"] = f"uid-claim-{self._given}"
        document["status"] = {"allocation": {"devices": {"results": results}}}
        self.there[name] = document
        return document

    def selected(self, selector: str) -> Document:
        """A list of those with these labels."""
        wanted = dict(one.split("=", 1) for one in selector.split(",") if one)
        items = [
            one
            for one in self.there.values()
            if wanted.items() <= (one["metadata"].get("labels") or {}).items()
        ]
        return {"kind": "ResourceClaimList", "metadata": {}, "items": items}

    def merge(self, name: str, patch: Document) -> Document | None:
        """As a strategic merge does it: owners are told apart by uid. ``None``: there is no such claim."""
        one = self.there.get(name)
        if one is not None:
            owners = one["metadata"].setdefault("ownerReferences", [])
            known = {owner["uid"] for owner in owners}
            owners += [
                owner for owner in patch["metadata"]["ownerReferences"] if owner["uid"] not in known
            ]
        return one

    def collect(self, pods: set[str]) -> None:
        """Those whose owners are all gone go; ``pods`` are the uids of those that are there."""
        for name, one in tuple(self.there.items()):
            owners = {owner["uid"] for owner in one["metadata"].get("ownerReferences") or ()}
            if owners and not owners & pods:
                del self.there[name]

    def slices(self) -> Document:
        """What the driver says of its devices."""
        devices = [
            {"name": f"gpu-{number}", "attributes": {"uuid": {"string": uuid_of(number)}}}
            for number in range(64)
        ]
        spec = {"driver": DRIVER, "pool": {"name": NODE}, "devices": devices}
        return {"kind": "ResourceSliceList", "metadata": {}, "items": [{"spec": spec}]}
