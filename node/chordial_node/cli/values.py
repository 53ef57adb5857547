"""`chordial put`, `get` and `rm`: the open service, for any program."""

import argparse
import base64
import sys
from pathlib import Path

from chordial_node.boundary.control import Done, Get, Put, Remove, ValueAnswer
from chordial_node.cli.asking import ask_any
from chordial_node.cli.options import UsageError, add_verb
from chordial_node.cli.output import Output, Value
from chordial_node.cli.sources import add_source_options, open_peers
from chordial_node.config import MOST_VALUE_BYTES
from chordial_node.usage.open_service import resource_of_key

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three verbs."""
    put = add_verb(verbs, "put", "store a value", "chordial put greeting 'good day' --ttl 1h", _put)
    put.add_argument("key", metavar="KEY")
    put.add_argument("value", metavar="VALUE", nargs="?", help="text; - reads standard input")
    put.add_argument("--file", type=Path, metavar="FILE", help="store what is in a file")
    put.add_argument("--ttl", default="1h", metavar="TIME", help="90s, 15m, 2h or 1d (default: 1h)")
    put.add_argument(
        "--secret",
        default="",
        help="who knows it may remove or overwrite the value (default: nobody may)",
    )
    get = add_verb(verbs, "get", "fetch a value", "chordial get greeting", _get)
    get.add_argument("key", metavar="KEY")
    remove = add_verb(verbs, "rm", "remove a value", "chordial rm greeting --secret hush", _remove)
    remove.add_argument("key", metavar="KEY")
    remove.add_argument("--secret", required=True, help="what the value was stored with")
    for verb in (put, get, remove):
        verb.add_argument(
            "--peer", default="", metavar="PEER", help="peer to ask, or HOST:PORT of its gRPC"
        )
        add_source_options(verb)


async def _put(args: argparse.Namespace, output: Output) -> int:
    value = _value_of(args)
    question = Put(
        key=args.key.encode(),
        value=value,
        lifetime_seconds=seconds_of(args.ttl),
        secret=args.secret.encode(),
    )
    async with open_peers(args) as peers:
        answer = await ask_any(peers, question, ValueAnswer, args.peer)
    output.result(_shown(args.key, answer, value))
    output.say(f"stored {len(value)} bytes as {args.key}, {answer.copies} copies on disk")
    return 0


async def _get(args: argparse.Namespace, output: Output) -> int:
    async with open_peers(args) as peers:
        answer = await ask_any(peers, Get(key=args.key.encode()), ValueAnswer, args.peer)
    output.result(_shown(args.key, answer, answer.value))
    if not answer.found:
        output.say(f"there is no value at {args.key}")
        return 1
    text = _text(answer.value)
    output.say(text if text is not None else base64.b64encode(answer.value).decode())
    return 0


async def _remove(args: argparse.Namespace, output: Output) -> int:
    question = Remove(key=args.key.encode(), secret=args.secret.encode())
    async with open_peers(args) as peers:
        await ask_any(peers, question, Done, args.peer)
    gone = ValueAnswer(resource_of_key(question.key), found=False)
    output.result(_shown(args.key, gone, b""))
    output.say(f"{args.key} is removed")
    return 0


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 90s, 15m, 2h or 1d."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * UNITS[unit] if unit in UNITS else float(text)
    except ValueError as error:
        raise UsageError(f"a time is 90s, 15m, 2h or 1d, not {text!r}") from error
    if not 0 < seconds < float("inf"):
        raise UsageError(f"a time is more than nothing, not {text!r}")
    return seconds


def _value_of(args: argparse.Namespace) -> bytes:
    if (args.file is None) == (args.value is None):
        raise UsageError("give a value, or --file, and not both")
    if args.file is not None:
        try:
            value = args.file.read_bytes()
        except OSError as error:
            raise UsageError(f"{args.file} cannot be read: {error.strerror}") from error
    else:
        most = MOST_VALUE_BYTES + 1
        value = sys.stdin.buffer.read(most) if args.value == "-" else args.value.encode()
    if len(value) > MOST_VALUE_BYTES:
        raise UsageError(f"the value has {len(value)} bytes; at most {MOST_VALUE_BYTES} fit")
    return bytes(value)


def _shown(key: str, answer: ValueAnswer, value: bytes) -> dict[str, Value]:
    text = _text(value)
    shown: dict[str, Value] = {
        "key": key,
        "resource_id": answer.resource_id.hex(),
        "found": answer.found,
        "value": text if text is not None else base64.b64encode(value).decode(),
        "encoding": "utf-8" if text is not None else "base64",
        "copies": answer.copies,
        "expires_at": answer.expires_at,
    }
    return shown


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
