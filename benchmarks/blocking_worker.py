"""A process of a contender that blocks: ``python -m benchmarks.blocking_worker NAME``.

The twin of ``worker.py``, with threads: each call in flight is a thread with a connection of
its own.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks import control, drivers
from benchmarks.drivers.interface import BlockingConnection, BlockingDriver
from benchmarks.worker import WrongAnswerError
from benchmarks.workload import checker, numbered, payload

_clock: Final = time.perf_counter
_CONNECT_LIMIT: Final = 10.0
_BATCH: Final = 8
"""Connections at a time: some listeners have room for 16."""


class Caller(threading.Thread):
    """A thread with a connection, as long as the process runs.

    A new thread per measurement would need a new connection where the library keeps one per
    thread, and to open hundreds at once is beyond the backlog of some listeners.
    """

    def __init__(self, driver: BlockingDriver, port: int) -> None:
        super().__init__(daemon=True)
        self._driver = driver
        self._port = port
        self._orders: queue.SimpleQueue[Callable[[BlockingConnection], Any]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.start()

    def order(self, function: Callable[[BlockingConnection], Any]) -> None:
        """Have *function* called with the connection; `result` must follow."""
        self._orders.put(function)

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def run(self) -> None:
        """Connect, and do what is ordered."""
        try:
            connection = self._connect()
            self._results.put(connection.echo(None))
            while True:
                self._results.put(self._orders.get()(connection))
        except Exception as exc:
            self._results.put(exc)

    def _connect(self) -> BlockingConnection:
        deadline = _clock() + _CONNECT_LIMIT
        while True:
            try:
                return self._driver.connect(self._port)
            except ConnectionRefusedError:  # the server is about to start
                if _clock() > deadline:
                    raise
                time.sleep(0.02)


class Worker:
    """What the commands do."""

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver
        self._port = 0
        self._callers: list[Caller] = []
        self.commands: dict[str, Callable[..., Any]] = {
            "serve": self.serve,
            "connect": self.connect,
            "load": self.load,
            "stream": self.stream,
        }

    def serve(self, port: int) -> None:
        """Become the server; callers try until it listens."""
        threading.Thread(target=self._driver.serve, args=(port,), daemon=True).start()

    def connect(self, port: int, count: int) -> None:
        """Open *count* connections; `load` opens more, one per thread."""
        self._port = port
        self._need(count)

    def load(
        self, value: str, in_flight: int, seconds: float, *, latencies: bool = False
    ) -> dict[str, Any]:
        """Have *in_flight* threads call on and on, and count the answers."""
        self._need(in_flight)
        sent, is_right = payload(value), checker(value)
        gate = threading.Barrier(in_flight + 1)
        begin = end = 0.0

        def call(connection: BlockingConnection) -> int:
            echo = connection.echo
            count = 0
            gate.wait()
            while True:
                answer = echo(sent)
                if not is_right(answer):
                    raise WrongAnswerError(f"{answer!r:.200}")
                count += 1
                if _clock() >= end:
                    return count

        callers = self._callers[:in_flight]
        for caller in callers:
            caller.order(call)
        begin = _clock()
        end = begin + seconds
        gate.wait()
        operations = sum(caller.result() for caller in callers)
        return {"operations": operations, "seconds": _clock() - begin, "latencies": []}

    def stream(self, items: int, seconds: float) -> dict[str, Any]:
        """Read a stream of *items*, or as much of it as comes in *seconds*."""

        def read(connection: BlockingConnection) -> dict[str, Any]:
            count = 0
            begin = _clock()
            for item in connection.rows(items):
                if item != numbered(count):
                    raise WrongAnswerError(f"item {count} of a stream is {item!r}")
                count += 1
                if not count % 256 and _clock() - begin > seconds:
                    break
            return {"operations": count, "seconds": _clock() - begin}

        self._callers[0].order(read)
        report: dict[str, Any] = self._callers[0].result()
        return report

    def _need(self, count: int) -> None:
        while len(self._callers) < count:
            batch = range(min(_BATCH, count - len(self._callers)))
            callers = [Caller(self._driver, self._port) for _ in batch]
            for caller in callers:
                caller.result()
            self._callers += callers


def main(driver: BlockingDriver) -> None:
    """Do what is asked until standard input ends."""
    worker = Worker(driver)
    control.answer("ready")
    for command in control.commands():
        try:
            handler, keywords = control.arguments(command, worker.commands)
            control.answer(handler(**keywords))
        except Exception as exc:
            control.answer_error(exc)
    control.end()


if __name__ == "__main__":
    main(drivers.load(sys.argv[1]))
