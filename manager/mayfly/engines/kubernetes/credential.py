"""The end of the token by which the cluster knows the manager, as the token itself says it (RFC 7519).

Nobody's word for it is taken but the token's own: what was asked for when it was made may have been cut by
the API server (`--service-account-max-token-expiration`).
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from shlex import quote

from mayfly.core.token_end import Credential, told_of
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault
from mayfly.edge.jwt import claims_of, end_of
from mayfly.engines.kubernetes.access import Access

_ACCOUNT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")


def credential_of(access: Access, cluster: Cluster) -> Credential | None:
    """By which that cluster knows us; ``None``: it says of no end, or a program gives another before it."""
    token = access.token() if access.place is not None else None
    end = end_of(token) if token else None
    if token is None or end is None:
        return None
    return Credential(str(access.place), end, _another(access, token, cluster), access.renewed)


def ended(access: Access) -> str:
    """That our token has ended, for a cluster that does not know us; ``""``: it has not, or does not say."""
    with suppress(Fault):
        token = access.token() if access.place is not None else None
        end = end_of(token) if token else None
        if end is not None and end <= time.time():
            return f" (the token in {access.place} {told_of(end, time.time())})"
    return ""


def _another(access: Access, token: str, cluster: Cluster) -> str:
    """What a person types to have another token there."""
    said = _ACCOUNT.fullmatch(str(claims_of(token).get("sub")))
    if access.renewed or said is None or cluster.kubeconfig is None:
        return f"# write another token into {access.place}, which is read again then"
    namespace, account = said[1], said[2]
    return (
        f"sudo kubectl --kubeconfig {quote(str(access.place))} config set-credentials {quote(access.user)} "
        f'--token "$(kubectl create token {account} --namespace {namespace} --duration 8760h)"'
    )
