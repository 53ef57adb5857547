"""A thousand phones in one process, each on a socket of its own, told what to do by JSON lines.

`python -m tests.cluster.phones.swarm --target HOST:PORT …`, in a network namespace or not. A line
on stdin is {"do": …, "token": …}; its answer on stdout carries the same token:

    start                  open the sockets, register; answers when each has tried once
    rate {per_second}      place that many calls a second from now on, between random phones
    stop                   no more calls; answers when those that run have ended, both sides
    call_everyone {per_second, users}  call each user once; answers with what became of each call
    heard {call_ids}       which of these calls rang at one of our phones, and whose
    report {since}         counts, failures, protocol errors, seconds, cost
    quit {unregister}      switch off

What a test concludes from the numbers must never be put here.
"""

import argparse
import asyncio
import json
import random
import resource
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator

import msgspec
import uvloop

from tests.cluster.phones.calling import Outcome, place_call
from tests.cluster.phones.flow import Address
from tests.cluster.phones.ledger import Ledger
from tests.cluster.phones.line import Settings
from tests.cluster.phones.phone import Phone

Json = dict[str, object]
MOST_SAMPLES = 100_000
QUIT_PARALLEL = 50


class Options(msgspec.Struct, frozen=True):
    """What the command line says."""

    targets: tuple[Address, ...]
    count: int = 1000
    first: int = 0
    callees: tuple[int, int] = (0, 0)
    """Numbers of the users that are called, the second excluded; (0, 0): our own."""
    user: str = "u{number:04}"
    password: str = "{user}pw"
    bind: str = ""
    ports: int = 0
    register_rate: float = 200.0
    seed: int = 0
    settings: Settings = Settings()

    def users(self, first: int, end: int) -> list[str]:
        """The names of users by number."""
        return [self.user.format(number=number) for number in range(first, end)]


class Swarm:
    """The phones and what they are doing."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ledger = Ledger()
        self.phones: list[Phone] = []
        first, end = options.callees
        own = (options.first, options.first + options.count)
        self._callees = options.users(*(own if first == end else (first, end)))
        self._heard: OrderedDict[bytes, str] = OrderedDict()
        self._random = random.Random(options.seed)
        self._registering: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[Outcome]] = set()
        self._caller: asyncio.Task[None] | None = None
        self._set_ups: list[tuple[float, float]] = []
        self._cpu = time.process_time()
        self._since = time.time()

    async def start(self) -> Json:
        """Open the sockets and register."""
        began = time.monotonic()
        options = self.options
        host = options.bind or local_address(options.targets[0])
        firsts: list[asyncio.Future[str]] = []
        loop = asyncio.get_running_loop()
        for index, user in enumerate(options.users(options.first, options.first + options.count)):
            server = options.targets[index % len(options.targets)]
            phone = Phone(
                user, options.password.format(user=user), server, options.settings, self.ledger,
                self._heard,
            )  # fmt: skip
            await phone.line.flow.open(host, options.ports + index if options.ports else 0)
            self.phones.append(phone)
            first: asyncio.Future[str] = loop.create_future()
            firsts.append(first)
            self._registering.append(loop.create_task(phone.line.stay_registered(first.set_result)))
            await _until(began + (index + 1) / options.register_rate)
        causes = await asyncio.gather(*firsts)
        failed = {
            phone.user: cause for phone, cause in zip(self.phones, causes, strict=True) if cause
        }
        return {
            "registered": len(causes) - len(failed),
            "failed": failed,
            "seconds": time.monotonic() - began,
        }

    async def rate(self, per_second: float) -> Json:
        """Place calls from now on."""
        await self._end_calling()
        if per_second > 0:
            self._caller = asyncio.get_running_loop().create_task(self._call_on(per_second))
        return {}

    async def stop(self) -> Json:
        """Place no more calls and wait for those that run."""
        await self._end_calling()
        running = len(self._calls)
        await asyncio.gather(*self._calls)
        await asyncio.gather(*(phone.settled() for phone in self.phones))
        return {"ran": running}

    async def call_everyone(self, per_second: float, users: list[str]) -> Json:
        """Call each user once."""
        began = time.monotonic()
        tasks = []
        for index, callee in enumerate(users or self._callees):
            tasks.append(self._call(callee))
            await _until(began + (index + 1) / per_second)
        outcomes = await asyncio.gather(*tasks)
        failed = [msgspec.to_builtins(each) for each in outcomes if each.cause]
        return {
            "called": len(outcomes),
            "answered": len(outcomes) - len(failed),
            "failed": failed,
            "seconds": time.monotonic() - began,
        }

    def heard(self, call_ids: list[str]) -> Json:
        """Which calls rang here."""
        found = {each: self._heard.get(each.encode()) for each in call_ids}
        return {"heard": {each: user for each, user in found.items() if user is not None}}

    def report(self, since: float) -> Json:
        """Everything that was counted."""
        now = time.time()
        ledger = self.ledger
        failures = [each for each in ledger.failures if each.at >= since]
        silent = [
            each
            for each in failures
            if each.what == "call" and each.phase == "set-up"
            and each.call_id.encode() not in self._heard
        ]  # fmt: skip
        samples = sorted(took for at, took in self._set_ups if at >= since)
        return {
            "at": now,
            "phones": len(self.phones),
            "registered": sum(phone.line.registered_until > now for phone in self.phones),
            "running": len(self._calls),
            "totals": ledger.totals(since),
            "failures": [msgspec.to_builtins(each) for each in failures],
            "unheard": sorted({each.other for each in silent}),
            "protocol_errors": dict(ledger.errors),
            "examples": ledger.examples,
            "longest_gap": ledger.longest_gap(since),
            "set_up": {
                f"p{part}": samples[min(len(samples) - 1, len(samples) * part // 100)]
                for part in (50, 95, 99, 100)
                if samples
            },
            "seconds": {str(at): dict(c) for at, c in ledger.series.items() if at >= int(since)},
            "cores": (time.process_time() - self._cpu) / max(now - self._since, 0.001),
        }

    async def quit(self, unregister: bool) -> Json:
        """Switch every phone off."""
        await self._end_calling()
        for task in [*self._registering, *self._calls]:
            task.cancel()
        await asyncio.gather(*self._registering, *self._calls, return_exceptions=True)
        if unregister:
            limit = asyncio.Semaphore(QUIT_PARALLEL)
            await asyncio.gather(*(_unregister(phone, limit) for phone in self.phones))
        for phone in self.phones:
            await phone.close()
        return {}

    async def obey(self, order: Json) -> Json:
        """Do what a line says."""
        match order.get("do"):
            case "start":
                return await self.start()
            case "rate":
                self._cpu, self._since = time.process_time(), time.time()
                return await self.rate(msgspec.convert(order.get("per_second", 0), float))
            case "stop":
                return await self.stop()
            case "call_everyone":
                users = msgspec.convert(order.get("users", []), list[str])
                rate = msgspec.convert(order.get("per_second", 50), float)
                return await self.call_everyone(rate, users)
            case "heard":
                return self.heard(msgspec.convert(order.get("call_ids", []), list[str]))
            case "report":
                return self.report(msgspec.convert(order.get("since", 0), float))
            case "quit":
                return await self.quit(bool(order.get("unregister", False)))
            case other:
                return {"error": f"no such order: {other!r}"}

    def _call(self, callee: str) -> "asyncio.Task[Outcome]":
        phone = self._random.choice(self.phones)
        while phone.user == callee and len(self.phones) > 1:
            phone = self._random.choice(self.phones)
        task = asyncio.get_running_loop().create_task(place_call(phone, callee))
        self._calls.add(task)
        task.add_done_callback(self._note)
        return task

    def _note(self, task: "asyncio.Task[Outcome]") -> None:
        self._calls.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.ledger.accuse(f"a call broke this program: {error!r}", "")
            return
        outcome = task.result()
        if outcome.phase != "set-up" and len(self._set_ups) < MOST_SAMPLES:
            self._set_ups.append((outcome.began, outcome.set_up))

    async def _call_on(self, per_second: float) -> None:
        began, placed = time.monotonic(), 0
        while True:
            self._calls.add(self._call(self._random.choice(self._callees)))
            placed += 1
            await _until(began + placed / per_second)

    async def _end_calling(self) -> None:
        if self._caller is not None:
            self._caller.cancel()
            await asyncio.gather(self._caller, return_exceptions=True)
            self._caller = None


def local_address(target: Address) -> str:
    """The address from which a target is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


async def _unregister(phone: Phone, limit: asyncio.Semaphore) -> None:
    async with limit:
        await phone.line.unregister()


async def _until(moment: float) -> None:
    left = moment - time.monotonic()
    await asyncio.sleep(max(left, 0.0))


async def _orders() -> AsyncIterator[Json]:
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order: Json = json.loads(line)
        yield order


async def serve(options: Options) -> None:
    """Do what stdin says until it ends or says quit."""
    swarm = Swarm(options)
    busy: set[asyncio.Task[None]] = set()

    async def answer(order: Json) -> None:
        try:
            said = await swarm.obey(order)
        except (OSError, msgspec.ValidationError) as error:
            said = {"error": str(error)}
        sys.stdout.write(json.dumps({"token": order.get("token"), **said}) + "\n")
        sys.stdout.flush()

    async for order in _orders():
        if order.get("do") == "quit":
            await answer(order)
            break
        task = asyncio.get_running_loop().create_task(answer(order))
        busy.add(task)
        task.add_done_callback(busy.discard)
    for task in list(busy):
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


def read_options(arguments: list[str]) -> Options:
    """What a command line says."""
    parser = argparse.ArgumentParser(prog="swarm", description="a thousand SIP phones")
    parser.add_argument("--target", action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first user")
    parser.add_argument("--callees", default="0:0", metavar="FIRST:END")
    parser.add_argument("--user", default="u{number:04}")
    parser.add_argument("--password", default="{user}pw")
    parser.add_argument("--bind", default="", help="own address (the one that routes there)")
    parser.add_argument("--ports", type=int, default=0, help="first port (0: any)")
    parser.add_argument("--register-rate", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", default="chordial.test")
    parser.add_argument("--expires", type=int, default=300)
    parser.add_argument("--hold", type=float, default=3.0)
    parser.add_argument("--ring", type=float, default=0.1)
    parser.add_argument("--retry-pause", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=40.0)
    found = vars(parser.parse_args(arguments))
    settings = {name: found.pop(name) for name in Settings.__struct_fields__}
    targets = [place.rpartition(":") for place in found.pop("target")]
    first, _, end = found.pop("callees").partition(":")
    return Options(
        targets=tuple((host, int(port)) for host, _, port in targets),
        callees=(int(first), int(end)),
        settings=Settings(**settings),
        **found,
    )


def main() -> None:
    """Run the swarm."""
    options = read_options(sys.argv[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve(options))


if __name__ == "__main__":
    main()
