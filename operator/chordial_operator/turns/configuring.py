"""Telling every peer at once who is shut out: the signed configuration, by the control service.

The bundle tells it as well, but a mounted ConfigMap is a minute late. Peers believe the signature,
so it does not matter which operator tells it, or how often. Level-triggered: who was not reached is
told in a later turn.
"""

import asyncio

from chordial_node.boundary.control import Configure, Done, Refused
from chordial_node.client import PeerUnreachableError
from chordial_operator.turns.context import Context, log
from chordial_operator.turns.scene import Scene

AT_ONCE = 16
ANSWER_SECONDS = 3.0
MOST_REMEMBERED = 2_000


async def tell_configuration(context: Context, scene: Scene) -> None:
    """Tell the configuration to the peers that have not taken it up, once somebody is shut out."""
    identity = scene.identity
    if not identity.revoked and not identity.peer_keys:
        return
    memory = context.memory(scene.overlay.meta.namespace, scene.overlay.meta.name)
    peers = context.peers(scene.overlay.meta.namespace, scene.overlay.meta.name)
    mark = (identity.instance_id, identity.sequence)
    slots = asyncio.Semaphore(AT_ONCE)

    async def tell(name: str, pod: str) -> None:
        async with slots:
            try:
                answer = await peers.ask(name, Configure(identity.configuration), ANSWER_SECONDS)
            except (PeerUnreachableError, TimeoutError) as error:
                log.info("%s was not told who is shut out: %s", name, error)
                return
        if isinstance(answer, Refused):
            log.warning("%s does not take the configuration up: %s", name, answer.reason)
        if isinstance(answer, Done):
            memory.configured[pod] = mark

    async with asyncio.TaskGroup() as group:
        for peer in scene.peers:
            is_out = peer.node_id in identity.revoked or peer.name in scene.lost
            if peer.pod is None or peer.report is None or is_out:
                continue
            if memory.configured.get(peer.pod.uid) != mark:
                group.create_task(tell(peer.name, peer.pod.uid))
    while len(memory.configured) > MOST_REMEMBERED:
        memory.configured.pop(next(iter(memory.configured)))
