"""Events about links and SIP connections that a core has closed meanwhile: they never reach it.

The edge promises it: no word about a number after CloseLink or CloseFlow. Here the numbers of a
process are kept in step with what its core is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from chordial_node.boundary.events import (
    Event,
    FlowFailed,
    FlowLost,
    FlowOpened,
    FlowReceived,
    FrameReceived,
    FrameWritten,
    LinkFailed,
    LinkLost,
    LinkOpened,
)
from chordial_node.simulation.hosts import Process


def _is_link_forgotten(process: Process, event: Event) -> bool:
    return cast(FrameReceived, event).link not in process.links


def _is_flow_forgotten(process: Process, event: Event) -> bool:
    return cast(FlowReceived, event).flow not in process.flows


def _is_loss_forgotten(process: Process, event: Event) -> bool:
    return process.links.pop(cast(LinkLost, event).link, None) is None


def _is_flow_loss_forgotten(process: Process, event: Event) -> bool:
    return process.flows.pop(cast(FlowLost, event).flow, None) is None


def _is_link_dial_forgotten(process: Process, event: Event) -> bool:
    link = cast(LinkFailed, event).link
    return process.dialing.pop(link, link) is not None


def _is_flow_dial_forgotten(process: Process, event: Event) -> bool:
    flow = cast(FlowFailed, event).flow
    return process.dialing.pop(-1 - flow, flow) is not None


def _is_opened_link_forgotten(process: Process, event: Event) -> bool:
    link = cast(LinkOpened, event).link
    process.dialing.pop(link, None)
    return link not in process.links


def _is_opened_flow_forgotten(process: Process, event: Event) -> bool:
    flow = cast(FlowOpened, event).flow
    process.dialing.pop(-1 - flow, None)
    return flow not in process.flows


FORGOTTEN: dict[type[Event], Callable[[Process, Event], bool]] = {
    FrameReceived: _is_link_forgotten,
    FrameWritten: _is_link_forgotten,
    LinkLost: _is_loss_forgotten,
    LinkFailed: _is_link_dial_forgotten,
    LinkOpened: _is_opened_link_forgotten,
    FlowReceived: _is_flow_forgotten,
    FlowLost: _is_flow_loss_forgotten,
    FlowFailed: _is_flow_dial_forgotten,
    FlowOpened: _is_opened_flow_forgotten,
}
"""Events about what the core has closed meanwhile never reach it."""
