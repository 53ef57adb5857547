"""The Nodes of the cluster: zones for failure domains, cordons, and kubelets that fell silent.

Read as a list every few seconds, and only as far as the operator's account may; without it a
peer's failure domain is what it was told at its enrollment, and no peer is ever found lost.
"""

import asyncio
from collections.abc import Awaitable, Callable

from chordial_operator.cluster.errors import ClusterError, ForbiddenError
from chordial_operator.cluster.protocol import Cluster
from chordial_operator.decisions.views import node_view
from chordial_operator.spec.manifest import Manifest
from chordial_operator.turns.context import log

PERIOD_SECONDS = 5.0
FORBIDDEN_SECONDS = 600.0


async def watch_nodes(
    cluster: Cluster,
    take: Callable[[list[Manifest]], None],
    changed: Callable[[], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Read the Nodes for ever; tell when something of them has changed that decisions look at."""
    before: object = None
    while True:
        period = PERIOD_SECONDS
        try:
            nodes = [_slim(each) for each in await cluster.nodes()]
        except ForbiddenError:
            log.warning("Nodes may not be read: failure domains are the names of Nodes")
            period, nodes = FORBIDDEN_SECONDS, []
        except ClusterError as error:
            log.info("Nodes could not be read: %s", error)
            await sleep(period)
            continue
        take(nodes)
        views = [(node["metadata"]["name"], node_view(node)) for node in nodes]
        if before is not None and views != before:
            changed()
        before = views
        await sleep(period)


def _slim(node: Manifest) -> Manifest:
    status = node.get("status") or {}
    metadata = node["metadata"]
    return {
        "metadata": {"name": metadata["name"], "labels": metadata.get("labels") or {}},
        "spec": node.get("spec") or {},
        "status": {"conditions": status.get("conditions") or []},
    }
