"""Which member records an answer carries, and which successors should hold copies.

Pure functions over the table; nothing is asked or changed here.
"""

from chordial_node.ids import NodeId
from chordial_node.overlay.messages import MemberRecord
from chordial_node.overlay.table import Table

MOST_MEMBERS_TOLD = 512
RECENT_SECONDS = 10.0


def records_for(
    asker: NodeId, table: Table, named: list[NodeId], now: float
) -> tuple[MemberRecord, ...]:
    """Return records that an asker may lack: all named to a stranger, to a member recent ones.

    The first one named is always told: it is a candidate, and must be dialed to be asked.
    """
    since = now - RECENT_SECONDS if table.is_alive(asker) else float("-inf")
    first = table.get(named[0])
    found = [first] if first is not None else []
    for node in named[1:]:
        member = table.member(node)
        if member is not None and member.learnt_at >= since:
            found.append(member.record)
    return tuple(found)


def records_around(own: NodeId, table: Table) -> tuple[MemberRecord, ...]:
    """Return the table for a joiner, whole or the part ahead of us; digests bring the rest."""
    nodes = [own, *table.next_live(own, MOST_MEMBERS_TOLD)]
    records = [table.get(node) for node in nodes]
    return tuple(record for record in records if record is not None)


def by_failure_domain(
    own: MemberRecord, table: Table, successors: list[NodeId], copies: int
) -> list[NodeId]:
    """Return live successors that can store, those of other failure domains first.

    Other domains are looked for among twice as many as there are to be copies (protocol.md §5).
    """
    domains = [_domain_of(own)]
    chosen: list[NodeId] = []
    others: list[NodeId] = []
    for node in successors:
        record = table.get(node)
        if record is None or not record.can_store or not table.is_alive(node):
            continue
        is_near = len(chosen) + len(others) < 2 * copies
        if is_near and (domain := _domain_of(record)) not in domains:
            domains.append(domain)
            chosen.append(node)
        else:
            others.append(node)
    return chosen + others


def _domain_of(record: MemberRecord) -> str:
    return record.failure_domain or record.overlay_address[0]
