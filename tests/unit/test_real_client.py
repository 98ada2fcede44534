"""The one real client: made, started, called and closed in the right order and thread."""

from __future__ import annotations

import asyncio  # noqa: TID251 - its futures are what a user's code may await
import functools
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest

from cluster_client._real_client import RealClient, is_purely_synchronous
from support.logs import LogRecorder
from support.real_clients import real_client
from support.times import LIMIT

Log = list[tuple[str, int]]


class Recording:
    """Base of the real clients here: keeps what was called, and in which thread."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.note("made")

    def note(self, event: str) -> None:
        self.log.append((event, threading.get_ident()))


class AsyncContextManager(Recording):
    async def __aenter__(self) -> Self:
        self.note("__aenter__")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert exc_info == (None, None, None)
        self.note("__aexit__")

    async def start(self) -> None:
        self.note("start")

    async def aclose(self) -> None:
        self.note("aclose")


class StartAndReady(Recording):
    async def start(self) -> None:
        self.note("start")

    async def ready(self) -> None:
        self.note("ready")

    async def aclose(self) -> None:
        self.note("aclose")

    async def close(self) -> None:
        self.note("close")


class OnlyReady(Recording):
    async def ready(self) -> None:
        self.note("ready")

    def close(self) -> None:
        self.note("close")


class NoLifecycle(Recording):
    async def get(self) -> str:
        self.note("get")
        return "value"


class AttributesOfThatName(Recording):
    start = "2026-01-02"
    close = None

    async def get(self) -> None: ...


class Synchronous(Recording):
    def start(self) -> None:
        self.note("start")

    def ready(self) -> None:
        self.note("ready")

    def get(self, key: str, *, default: Any = None) -> Any:
        self.note("get")
        return default or key

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self.note("subscribe")
        listener(reg)

    def close(self) -> None:
        self.note("close")


class SynchronousContextManager(Recording):
    def __enter__(self) -> Self:
        self.note("__enter__")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.note("__exit__")


class Mixed(Recording):
    async def start(self) -> None:
        self.note("start")

    def size(self) -> int:
        self.note("size")
        return 3

    def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self.note("subscribe")

    def close(self) -> None:
        self.note("close")


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hide that the function is a coroutine function, as many a retry decorator does."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    wrapper.__dict__.pop("__wrapped__")
    return wrapper


class Decorated(Recording):
    @decorated
    async def start(self) -> None:
        self.note("start")

    @decorated
    async def get(self) -> str:
        self.note("get")
        return "value"

    @decorated
    async def subscribe(self, reg: Any, listener: Callable[[Any], None]) -> None:
        self.note("subscribe")

    @decorated
    async def aclose(self) -> None:
        self.note("aclose")


@asynccontextmanager
async def opened(
    cls: type[Any], *args: Any, log: LogRecorder | None = None, threads: int = 1
) -> AsyncGenerator[RealClient]:
    real = real_client(cls, *args, threads=threads, log=log)
    async with real.open() as same:
        assert same is real
        yield real


def names(log: Log) -> list[str]:
    return [name for name, _ in log]


# --------------------------------------------------------------- lifecycle


@pytest.mark.parametrize(
    ("cls", "events"),
    [
        (AsyncContextManager, ["made", "__aenter__", "__aexit__"]),
        (StartAndReady, ["made", "start", "ready", "aclose"]),
        (OnlyReady, ["made", "ready", "close"]),
        (NoLifecycle, ["made"]),
        (AttributesOfThatName, ["made"]),
        (Synchronous, ["made", "start", "ready", "close"]),
        (SynchronousContextManager, ["made", "__enter__", "__exit__"]),
        (Mixed, ["made", "start", "close"]),
        (Decorated, ["made", "start", "aclose"]),
    ],
)
async def test_the_lifecycle_is_the_classs_own(cls: type[Any], events: list[str]) -> None:
    log: Log = []
    async with opened(cls, log):
        log.append(("body", 0))
    assert [name for name in names(log) if name != "body"] == events
    assert names(log).index("body") == len(events) - (events[-1] not in ("made", "start"))


async def test_arguments_reach_the_constructor() -> None:
    class Arguments:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            seen.append((args, kwargs))

        async def get(self) -> None: ...

    seen: list[Any] = []
    async with real_client(Arguments, 1, 2, x=3).open():
        assert seen == [((1, 2), {"x": 3})]


@pytest.mark.parametrize(
    ("cls", "synchronous"),
    [
        (Synchronous, True),
        (SynchronousContextManager, True),
        (Decorated, True),
        (AsyncContextManager, False),
        (StartAndReady, False),
        (Mixed, False),
        (NoLifecycle, False),
        (type("Stream", (), {"rows": opened.__wrapped__}), False),  # type: ignore[attr-defined]
        (type("Mixin", (), {"__aenter__": lambda self: self}), False),
    ],
)
def test_one_coroutine_function_makes_a_class_asynchronous(
    cls: type[Any], synchronous: bool
) -> None:
    assert is_purely_synchronous(cls) is synchronous


# ----------------------------------------------------------------- threads


async def test_a_purely_synchronous_client_lives_in_one_thread() -> None:
    log: Log = []
    async with opened(Synchronous, log) as real:
        assert await real.invoke("get", ("k",), {}) == "k"
        assert await real.invoke("get", ("k",), {"default": 1}) == 1
        await real.invoke_part("subscribe", {"path": "/k"}, lambda _: None)
    assert names(log) == ["made", "start", "ready", "get", "get", "subscribe", "close"]
    idents = {ident for _, ident in log}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_a_mixed_client_lives_in_the_loop_and_its_blocking_calls_in_a_thread() -> None:
    log: Log = []
    async with opened(Mixed, log) as real:
        assert await real.invoke("size", (), {}) == 3
        await real.invoke_part("subscribe", {"path": "/k"}, lambda _: None)
    here = threading.get_ident()
    assert {name for name, ident in log if ident == here} == {"made", "start", "subscribe", "close"}
    assert {name for name, ident in log if ident != here} == {"size"}


async def test_a_client_that_needs_no_thread_has_none() -> None:
    log: Log = []
    async with opened(NoLifecycle, log) as real:
        assert await real.invoke("get", (), {}) == "value"
        assert real._threads is None


async def test_a_decorated_function_that_returns_a_coroutine_is_awaited() -> None:
    log: Log = []
    async with opened(Decorated, log) as real:
        assert await real.invoke("get", (), {}) == "value"
        await real.invoke_part("subscribe", {}, lambda _: None)
    assert names(log) == ["made", "start", "get", "subscribe", "aclose"]


async def test_several_threads_by_choice() -> None:
    barrier = threading.Barrier(2, timeout=LIMIT)

    class Parallel:
        def meet(self) -> None:
            barrier.wait()

    async with opened(Parallel, threads=2) as real, anyio.create_task_group() as tasks:
        tasks.start_soon(real.invoke, "meet", (), {})
        tasks.start_soon(real.invoke, "meet", (), {})


# ------------------------------------------------------------------ errors


class Failing(Recording):
    """Fails where it is told to."""

    def __init__(self, log: Log, where: str) -> None:
        super().__init__(log)
        self.where = where
        self.fail("init")

    def fail(self, where: str) -> None:
        self.note(where)
        if where == self.where:
            raise ValueError(where)


class FailingAsync(Failing):
    async def start(self) -> None:
        self.fail("start")

    async def ready(self) -> None:
        self.fail("ready")

    async def aclose(self) -> None:
        self.fail("aclose")


class FailingSync(Failing):
    def start(self) -> None:
        self.fail("start")

    def ready(self) -> None:
        self.fail("ready")

    def close(self) -> None:
        self.fail("aclose")


class FailingContextManager(Failing):
    async def __aenter__(self) -> Self:
        self.fail("start")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fail("aclose")


@pytest.mark.parametrize("cls", [FailingAsync, FailingSync])
@pytest.mark.parametrize(
    ("where", "events"),
    [
        ("init", ["made", "init"]),
        ("start", ["made", "init", "start", "aclose"]),
        ("ready", ["made", "init", "start", "ready", "aclose"]),
    ],
)
async def test_a_client_that_does_not_start_is_closed_again(
    cls: type[Any], where: str, events: list[str]
) -> None:
    log: Log = []
    with pytest.raises(ValueError, match=where):
        async with opened(cls, log, where):
            pytest.fail("it must not open")
    assert names(log) == events


async def test_a_context_manager_that_does_not_start_is_not_left() -> None:
    log: Log = []
    with pytest.raises(ValueError, match="start"):
        async with opened(FailingContextManager, log, "start"):
            pytest.fail("it must not open")
    assert names(log) == ["made", "init", "start"]


@pytest.mark.parametrize("cls", [FailingAsync, FailingSync, FailingContextManager])
async def test_an_error_of_the_close_is_logged(cls: type[Any]) -> None:
    log = LogRecorder()
    async with opened(cls, [], "aclose", log=log):
        pass
    assert log.of("real_client_close_failed") == [{"error": "ValueError('aclose')"}]


async def test_an_error_of_the_start_outlives_one_of_the_close() -> None:
    class Hopeless:
        async def start(self) -> None:
            raise ValueError("start")

        async def aclose(self) -> None:
            raise ZeroDivisionError

    log = LogRecorder()
    with pytest.raises(ValueError, match="start"):
        async with opened(Hopeless, log=log):
            pytest.fail("it must not open")
    assert log.of("real_client_close_failed") == [{"error": "ZeroDivisionError()"}]


async def test_a_close_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster_client._real_client._CLOSE_LIMIT", 0.01)

    class Hanging:
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    log = LogRecorder()
    async with opened(Hanging, log=log):
        pass
    assert log.of("real_client_close_timed_out") == [{"limit": 0.01}]


async def test_a_close_that_blocks_its_thread_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster_client._real_client._CLOSE_LIMIT", 0.01)
    monkeypatch.setattr("cluster_client._threads._JOIN_LIMIT", 0.01)
    released = threading.Event()

    class Blocking:
        def close(self) -> None:
            released.wait(LIMIT)

    log = LogRecorder()
    async with opened(Blocking, log=log):
        pass
    assert log.of("real_client_close_timed_out") == [{"limit": 0.01}]
    released.set()


async def test_the_close_is_shielded_from_a_cancellation() -> None:
    log: Log = []

    class SlowToClose(Recording):
        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            self.note("aclose")

    with anyio.CancelScope() as scope:
        async with opened(SlowToClose, log):
            scope.cancel()
            await anyio.sleep_forever()
    assert names(log) == ["made", "aclose"]


async def test_a_start_can_be_cancelled_and_is_closed() -> None:
    log: Log = []

    class SlowToStart(Recording):
        async def start(self) -> None:
            self.note("start")
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            self.note("aclose")

    with anyio.move_on_after(0.01) as scope:
        async with opened(SlowToStart, log):
            pytest.fail("it must not open")
    assert scope.cancelled_caught
    assert names(log) == ["made", "start", "aclose"]


class SlowToMake(Recording):
    """A synchronous client whose constructor takes as long as the test wants."""

    entered: threading.Event
    released: threading.Event
    ended: threading.Event

    def __init__(self, log: Log) -> None:
        self.entered.set()
        assert self.released.wait(LIMIT)
        super().__init__(log)

    def __init_subclass__(cls) -> None:
        cls.entered, cls.released, cls.ended = (threading.Event() for _ in range(3))


async def give_up_while_it_is_made(cls: type[SlowToMake], log: Log, told: LogRecorder) -> None:
    """Cancel an opening that is in the constructor, and let that come to its end."""
    async with anyio.create_task_group() as tasks:

        async def open_it() -> None:
            async with opened(cls, log, log=told):
                pytest.fail("it must not open")

        tasks.start_soon(open_it)
        await anyio.to_thread.run_sync(cls.entered.wait, LIMIT)
        tasks.cancel_scope.cancel()
        cls.released.set()


async def test_what_is_made_when_nobody_wants_it_any_more_is_closed() -> None:
    class Client(SlowToMake):
        def close(self) -> None:
            self.note("close")

    log: Log = []
    await give_up_while_it_is_made(Client, log, LogRecorder())
    assert names(log) == ["made", "close"]
    assert len({ident for _, ident in log}) == 1


async def test_an_error_of_that_close_is_logged_too() -> None:
    class Client(SlowToMake):
        def close(self) -> None:
            raise ValueError("close")

    told = LogRecorder()
    await give_up_while_it_is_made(Client, [], told)
    assert told.of("real_client_close_failed") == [{"error": "ValueError('close')"}]


async def test_what_was_not_entered_is_not_left_and_what_has_no_close_is_let_go() -> None:
    class Manager(SlowToMake):
        def __enter__(self) -> Self:
            raise NotImplementedError

        def __exit__(self, *_: object) -> None:
            raise NotImplementedError

    class Plain(SlowToMake):
        pass

    for cls in (Manager, Plain):
        log: Log = []
        told = LogRecorder()
        await give_up_while_it_is_made(cls, log, told)
        assert names(log) == ["made"]
        assert told.entries == []


async def test_a_close_waits_for_its_thread_even_if_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster_client._real_client._CLOSE_LIMIT", 0.01)
    monkeypatch.setattr("cluster_client._threads._JOIN_LIMIT", 0.01)
    entered, released, closed = (threading.Event() for _ in range(3))

    class Busy:
        def work(self) -> None:
            entered.set()
            released.wait(LIMIT)

        def close(self) -> None:
            closed.set()

    async with anyio.create_task_group() as tasks:
        async with opened(Busy) as real:
            tasks.start_soon(real.invoke, "work", (), {})
            await anyio.to_thread.run_sync(entered.wait, LIMIT)
        assert not closed.is_set()
        released.set()
    await anyio.to_thread.run_sync(closed.wait, LIMIT)
    assert closed.is_set()


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_system_exit_ends_the_real_client_and_nothing_else(asynchronous: bool) -> None:
    class Leaving:
        def start(self) -> None:
            raise SystemExit(3)

    class LeavingAsync(Leaving):
        async def get(self) -> None: ...

    cls = LeavingAsync if asynchronous else Leaving
    with pytest.raises(RuntimeError, match=r"Leaving.* raised SystemExit\(3\)"):
        async with opened(cls):
            pytest.fail("it must not open")


async def test_the_lifecycle_is_looked_up_on_the_class() -> None:
    """A proxy has any attribute, if asked on the instance."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            pytest.fail(f"{name} was called")

        async def get(self) -> None: ...

    async with opened(Proxy):
        pass


async def test_an_error_of_a_method_goes_to_the_caller() -> None:
    class Broken:
        def sync(self) -> None:
            raise KeyError("sync")

        async def asynchronous(self) -> None:
            raise KeyError("async")

    async with opened(Broken) as real:
        with pytest.raises(KeyError, match="'sync'"):
            await real.invoke("sync", (), {})
        with pytest.raises(KeyError, match="async"):
            await real.invoke("asynchronous", (), {})


# ------------------------------------------------------ stray cancellations


def cancelled_future() -> asyncio.Future[None]:
    """Return what a library leaves behind of a request, say, when its connection is lost."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


class Straying:
    """Awaits what somebody else has cancelled, at every opportunity."""

    async def start(self) -> None:
        await cancelled_future()

    async def get(self) -> None:
        await cancelled_future()

    @decorated
    async def hidden(self) -> None:
        await cancelled_future()

    async def aclose(self) -> None:
        await cancelled_future()


class OnlyGetStrays:
    get = Straying.get
    hidden = Straying.hidden
    subscribe = Straying.get


class TestOnAsyncio:
    """Awaiting a cancelled future looks like being cancelled oneself, and is not."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_stray_cancellation_is_an_error_of_the_part(self) -> None:
        async with opened(OnlyGetStrays) as real:
            with pytest.raises(CancelledError, match="what was awaited has been cancelled"):
                await real.invoke_part("subscribe")

    async def test_a_stray_cancellation_is_an_error_of_the_start_and_of_the_close(self) -> None:
        log = LogRecorder()
        with pytest.raises(CancelledError):
            async with opened(Straying, log=log):
                pytest.fail("it must not open")
        assert len(log.of("real_client_close_failed")) == 1

    async def test_a_cancellation_of_the_task_itself_is_none(self) -> None:
        class Patient:
            async def get(self) -> None:
                entered.set()
                await anyio.sleep_forever()

        entered = anyio.Event()
        async with opened(Patient) as real:
            task = asyncio.ensure_future(real.invoke("get", (), {}))
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
