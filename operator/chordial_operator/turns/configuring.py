"""Telling every peer at once who is shut out: the signed configuration, by the control service.

The bundle tells it as well, but a mounted ConfigMap is a minute late. Peers believe the signature,
so it does not matter which operator tells it, or how often. Level-triggered: who was not reached is
told in a later turn.
"""

import asyncio

from chordial_node.boundary.control import Configure, Done, Refused
from chordial_node.client import PeerUnreachableError
from chordial_operator.decisions.health import has_word
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
        if isinstance(answer, Refused) and memory.not_configured.get(pod) != mark:
            memory.not_configured[pod] = mark
            log.warning("%s does not take the configuration up: %s", name, answer.reason)
        if isinstance(answer, Done):
            memory.configured[pod] = mark

    async with asyncio.TaskGroup() as group:
        for name, pod in _reachable(scene):
            if memory.configured.get(pod) != mark:
                group.create_task(tell(name, pod))
    for remembered in (memory.configured, memory.not_configured):
        while len(remembered) > MOST_REMEMBERED:
            remembered.pop(next(iter(remembered)))


def _reachable(scene: Scene) -> list[tuple[str, str]]:
    """Names and pods of peers that have spoken of late: the turn does not wait for silent ones."""
    return [
        (peer.name, peer.pod.uid)
        for peer in scene.peers
        if peer.pod is not None
        and peer.node_id not in scene.identity.revoked
        and peer.name not in scene.lost
        and has_word(peer, scene.now)
    ]
