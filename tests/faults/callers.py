"""What a worker does all the time: it calls, reads streams, subscribes and publishes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.abc

from cluster_client import (
    Client,
    ClientClosedError,
    EncodeError,
    LeaderUnavailableError,
    OutcomeUnknownError,
    RefusedError,
    RemoteInvokeError,
    ResponseTimeoutError,
)
from faults.diary import Diary
from faults.service import BEHAVIOURS, KEYS
from support.times import scaled

CALLERS: Final = 4
"""Per worker."""

MOST_SUBSCRIBERS: Final = 8
"""Per worker, of those that come and go."""

METHODS: Final = ("once", "again", "oneway", "thread", "stream", "publish")
_METHOD_WEIGHTS: Final = (8, 8, 2, 1, 2, 2)
_BEHAVIOUR_WEIGHTS: Final = (40, 16, 6, 2, 1, 2)
_LONGEST: Final = {"slow": 0.3, "raises": 0.3, "blocks": 0.15}


class Callers:
    """Callers and subscribers of one client.

    Args:
        client: Open.
        diary: Takes what they do, and what comes of it.
        chance: Decides all that is random.
        numbers: Make ids that no other call of this process has.
        worker: The process's number.
    """

    def __init__(
        self,
        client: Client[Any],
        diary: Diary,
        chance: random.Random,
        numbers: itertools.count[int],
        worker: int,
    ) -> None:
        self._client = client
        self._diary = diary
        self._chance = chance
        self._numbers = numbers
        self._worker = worker
        self._stopping = False
        self._subscribers: dict[str, Callable[[Any], None]] = {}
        self.latest: dict[str, int] = dict.fromkeys(KEYS, -1)
        """What the subscriber of each key that stays got last."""

    async def run(self) -> None:
        """Call until `stop`, or until the client is closed; returns after the last call."""
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(self._call_on_and_on)
            for key in KEYS:
                tasks.start_soon(self._listen, key)
            tasks.start_soon(self._come_and_go)

    def stop(self) -> None:
        """Let every caller end with the call that it makes."""
        self._stopping = True

    # ---------------------------------------------------------------- calls

    async def _call_on_and_on(self) -> None:
        while not self._stopping:
            outcome = await self.call(self._chance.choices(METHODS, _METHOD_WEIGHTS)[0])
            if outcome == "closed":
                return
            await anyio.sleep(scaled(self._chance.expovariate(1 / 0.03)))

    async def call(self, method: str) -> str:
        """Make one call, and write down what came of it."""
        chance = self._chance
        call_id = self._new_id()
        behaviour = "quick"
        if method in {"once", "again"}:
            behaviour = chance.choices(BEHAVIOURS, _BEHAVIOUR_WEIGHTS)[0]
        seconds = scaled(chance.random() * _LONGEST.get(behaviour, 0.02))
        patience = scaled(chance.random() * 0.1) if chance.random() < 0.1 else None
        note = self._diary.note
        note("call", id=call_id, method=method, behaviour=behaviour, seconds=seconds)
        outcome, detail = "cancelled", ""
        try:
            with anyio.move_on_after(patience):
                outcome, detail = await self._attempt(method, call_id, behaviour, seconds)
        finally:
            note("end", id=call_id, outcome=outcome, detail=detail)
        return outcome

    async def _attempt(
        self, method: str, call_id: str, behaviour: str, seconds: float
    ) -> tuple[str, str]:
        try:
            answer = await self._make(method, call_id, behaviour, seconds)
        except Exception as exc:
            return judge(exc, call_id, behaviour), repr(exc)
        if answer is None or answer == call_id:
            return "answered", ""
        return "wrong", repr(answer)

    async def _make(self, method: str, call_id: str, behaviour: str, seconds: float) -> Any:
        client = self._client
        match method:
            case "oneway":
                await client.call("oneway", call_id)
                return None
            case "thread":
                return await client.call("thread", call_id, seconds)
            case "stream":
                return await self._read(call_id, self._chance.randrange(1, 150), seconds / 10)
            case "publish":
                await client.publish({"key": self._chance.choice(KEYS), "id": call_id})
                return None
        return await client.call(method, call_id, behaviour, seconds)

    async def _read(self, call_id: str, count: int, seconds: float) -> Any:
        """Read a stream, or a part of it; returns the id, or the first item that is wrong."""
        enough = self._chance.randrange(count) if self._chance.random() < 0.3 else count
        expected = 0
        async with self._client.call("stream", call_id, count, seconds) as items:
            async for item in items:
                if item != [call_id, expected]:
                    return item
                expected += 1
                if expected > enough:
                    return call_id
        return call_id if expected == count else [call_id, f"{expected} items of {count}"]

    def _new_id(self) -> str:
        return f"{self._worker}.{next(self._numbers)}"

    # --------------------------------------------------------- subscriptions

    async def _listen(self, key: str) -> None:
        """Subscribe for as long as the client is open."""

        def latest(value: int) -> None:
            self.latest[key] = value

        await self._subscribe(key, latest)

    async def _come_and_go(self) -> None:
        """Subscribe and unsubscribe."""
        while not self._stopping:
            key = self._chance.choice(KEYS)
            crowded = len(self._subscribers) >= MOST_SUBSCRIBERS
            if crowded or (self._subscribers and self._chance.random() < 0.5):
                name = self._chance.choice(list(self._subscribers))
                listener = self._subscribers.pop(name)
                try:
                    await self._client.unsubscribe({"key": name.split()[0]}, listener)
                except ClientClosedError:
                    return
            elif not await self._subscribe(key):
                return
            await anyio.sleep(scaled(self._chance.expovariate(1 / 0.3)))

    async def _subscribe(self, key: str, then: Callable[[int], None] | None = None) -> bool:
        """Subscribe with a listener of its own; False if the client is closed."""
        name = f"{key} {self._new_id()}"

        def listener(value: list[Any]) -> None:
            self._diary.note("value", subscriber=name, key=value[0], value=value[1])
            if then is not None:
                then(value[1])

        while True:
            try:
                await self._client.subscribe({"key": key}, listener)
            except ClientClosedError:
                return False
            except Exception as exc:
                outcome = judge(exc, name, "quick")
                self._diary.note("unsubscribed", subscriber=name, outcome=outcome, detail=repr(exc))
                await anyio.sleep(scaled(0.1))
                continue
            if then is None:
                self._subscribers[name] = listener
            return True


def judge(exc: Exception, call_id: str, behaviour: str) -> str:
    """Return what an error means, or ``undocumented``."""
    match exc:
        case OutcomeUnknownError():
            return "unknown"
        case ResponseTimeoutError():
            return "timed out"
        case LeaderUnavailableError():
            return "unavailable"
        case RefusedError():
            return "refused"
        case ClientClosedError():
            return "closed"
        case ConnectionRefusedError() if str(exc) == "the service is down":
            return "down"
        case EncodeError() if behaviour == "unsendable":
            return "answered"
        case ValueError() if behaviour == "raises":
            return "answered" if exc.args == (call_id,) else "wrong"
        case RemoteInvokeError(remote_name="SystemExit") if behaviour == "exits":
            return "answered" if call_id in exc.message else "wrong"
    return "undocumented"
