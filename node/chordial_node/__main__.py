"""chordial-node: runs one or more peers in this process until SIGTERM, or the one peer of a pod.

Reads the configuration files named on the command line, or what a pod is given, and owns what is
the process's: event loop, signals, standard error and the exit code. 0: stopped as asked;
1: failed; 2: cannot start.
"""

import argparse
import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chordial_node import __version__, config
from chordial_node.adapters.grpc_stderr import GrpcStderr
from chordial_node.config import ConfigError, NodeConfig
from chordial_node.node import Node, StartError
from chordial_node.pod import Pod
from chordial_node.pod_config import PodPaths

CANNOT_START = 2
MOST_DESCRIPTORS = 65_536


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the peers of the command line's configuration files and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="chordial-node",
        description="Runs peers of a Chordial overlay until SIGTERM.",
        epilog="example: chordial-node /etc/chordial/peer-1.json",
    )
    parser.add_argument("config", nargs="*", type=Path, help="a peer's configuration, JSON")
    parser.add_argument(
        "--pod", action="store_true", help="be the peer of a pod: its places and environment"
    )
    parser.add_argument("--root", default="", help="folder that a pod's places lie below")
    parser.add_argument("--version", action="version", version=f"chordial {__version__}")
    options = parser.parse_args(arguments)
    if options.pod == bool(options.config):
        parser.error("name a configuration file, or say --pod, and not both")
    if options.pod:
        _raise_descriptor_limit()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run_pod(PodPaths(options.root)))
    try:
        configs = [_read(path) for path in options.config]
    except ConfigError as error:
        print(f"chordial-node: {error}", file=sys.stderr)
        return CANNOT_START
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(configs))


def _read(path: Path) -> NodeConfig:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return config.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _raise_descriptor_limit() -> None:
    """Each connection of a phone is a descriptor, and the usual soft limit is 1,024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(configs: Sequence[NodeConfig]) -> int:
    nodes: list[Node] = []
    grpc_words = GrpcStderr(
        lambda *told: nodes[0].refused(*told),
        lambda level, text: nodes[0].log.limited_line(level, "grpc says", told=text),
    )
    nodes += [Node(each, grpc_words.stream) for each in configs]
    first = nodes[0]
    logging.getLogger().addHandler(first.log.handler)
    try:
        return await _run_nodes(nodes)
    finally:
        logging.getLogger().removeHandler(first.log.handler)
        grpc_words.close()


async def _run_pod(paths: PodPaths) -> int:
    pods: list[Pod] = []
    grpc_words = GrpcStderr(
        lambda *told: pods[0].refused(*told),
        lambda level, text: pods[0].log.limited_line(level, "grpc says", told=text),
    )
    try:
        pod = Pod(paths, os.environ, grpc_words.stream)
        pods.append(pod)
        logging.getLogger().addHandler(pod.log.handler)
        _on_signals((pod,))
        return await pod.run()
    except (ConfigError, StartError) as error:
        print(f"chordial-node: {error}", file=sys.stderr)
        return CANNOT_START
    finally:
        for pod in pods:
            logging.getLogger().removeHandler(pod.log.handler)
        grpc_words.close()


async def _run_nodes(nodes: Sequence[Node]) -> int:
    started: list[Node] = []
    _on_signals(nodes)
    try:
        for node in nodes:
            started.append(node)
            await node.start()
        gc.collect()
        gc.freeze()  # what lives until the end need not be looked at again
        ends = await asyncio.gather(*(node.wait() for node in nodes))
        return int(any(end.failed for end in ends))
    except StartError as error:
        print(f"chordial-node: {error}", file=sys.stderr)
        return CANNOT_START
    finally:
        await asyncio.gather(*(node.close() for node in started))


def _on_signals(nodes: Sequence[Node | Pod]) -> None:
    """The first SIGTERM or SIGINT ends the peers in order, a second one ends the process."""
    asked: list[int] = []

    def stop(number: int) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        for node in nodes:
            node.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)


if __name__ == "__main__":
    sys.exit(main())
