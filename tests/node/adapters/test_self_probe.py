"""The peer's question to its own UDP listener: answered, unanswered, and nobody there."""

import socket
import threading

from chordial_node.adapters.self_probe import udp_answers
from chordial_node.config import Endpoint
from chordial_node.sip.message import Message
from tests.node.adapters.overlay_rig import on_both_loops


def bound() -> tuple[socket.socket, Endpoint]:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(5)
    return made, Endpoint(*made.getsockname())


@on_both_loops
async def test_any_answer_is_life_and_the_question_is_whole() -> None:
    listener, end = bound()
    asked: list[bytes] = []

    def answer() -> None:
        data, source = listener.recvfrom(4_096)
        asked.append(data)
        listener.sendto(b"SIP/2.0 503 Busy\r\n\r\n", source)

    thread = threading.Thread(target=answer)
    thread.start()
    assert await udp_answers(end)
    thread.join()
    listener.close()
    request = Message.parse(asked[0])
    assert (request.method, request.max_forwards) == (b"OPTIONS", 0)


@on_both_loops
async def test_a_silent_listener_and_a_closed_one_do_not_answer() -> None:
    listener, end = bound()
    assert not await udp_answers(end)
    listener.close()
    assert not await udp_answers(end)
    assert not await udp_answers(Endpoint("192.0.2.1", 5060))
