"""azure-devops' calls, as its clients of agent pools and builds make them.

python -m tests.real.sdk.azure_client ORGANISATION TOKEN
"""

from __future__ import annotations

import sys
from typing import Any

from azure.devops.connection import Connection
from azure.devops.v7_1.build.models import Build
from azure.devops.v7_1.task_agent.models import TaskAgent
from msrest.authentication import BasicAuthentication

from tests.real.sdk.answering import serve

# How each wants what it is given.
BODIES = {
    "add_agent": ("agent", TaskAgent),
    "update_agent": ("agent", TaskAgent),
    "replace_agent": ("agent", TaskAgent),
    "update_build": ("build", Build),
}


def main() -> None:
    """Serve."""
    url, token = sys.argv[1:]
    clients = Connection(base_url=url, creds=BasicAuthentication("", token)).clients_v7_1
    getters = {
        "task_agent": clients.get_task_agent_client,
        "build": clients.get_build_client,
        "location": clients.get_location_client,
    }

    def make(call: str, given: dict[str, Any]) -> Any:
        area, _, method = call.partition(".")
        name, shape = BODIES.get(method, ("", None))
        if shape is not None:
            given[name] = shape(**given[name])
        found = getattr(getters[area](), method)(**given)
        if found is None:
            return None
        return [one.as_dict() for one in found] if isinstance(found, list) else found.as_dict()

    serve(make)


if __name__ == "__main__":
    main()
