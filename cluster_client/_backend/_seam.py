"""The interfaces between the toolkit and the libraries of event loops."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

__all__ = ["Listener", "Transport", "Waiter"]


class Waiter(Protocol):
    """Something that one task waits for, once.

    Cancellation:
        Safe; it is `done` then, and nobody needs to set it any more.
    """

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for the result, and return it."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Wake the task; only where it is not `done`."""
        ...

    def done(self) -> bool:
        """Tell whether there is a result, or nobody waits any more."""
        ...


class Transport(Protocol):
    """A connected stream of bytes.

    At first it is read with `receive` and written with `send`; from `run` on it hands over what
    arrives, and takes what is to be sent, without a task in between.
    """

    async def receive(self) -> bytes:
        """Return what arrived, ``b""`` at the end of the stream or when it broke.

        Cancellation: safe, no byte is lost.
        """
        ...

    async def send(self, data: bytes) -> bool:
        """Send all of *data*; returns False if the stream is broken.

        Cancellation: a part may have been sent; only for a stream that is being given up.
        """
        ...

    async def run(self, on_data: Callable[[bytes], None], on_writable: Callable[[], None]) -> None:
        """Hand over what arrives until the stream ends or breaks, or `aclose` is called.

        Args:
            on_data: Called with each piece; what it raises is raised by `run`.
            on_writable: Called when `writable` has become true again.

        Cancellation: ends it; the transport is good for nothing but `aclose` then.
        """
        ...

    @property
    def writable(self) -> bool:
        """Whether `write` may be called. False while much of what was written is still unsent."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes written that the operating system has not taken yet; 0 on a broken stream."""
        ...

    @property
    def untaken(self) -> int:
        """Bytes written, the last ones, that the operating system has not taken and never will.

        It may be less than the truth: an event loop may keep to itself what became of its buffer.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send *data*, as a whole and in order, as fast as the operating system takes it."""
        ...

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have *function* called when the tasks that are ready have had their turn.

        While `run` runs, and one function at a time.
        """
        ...

    def pause_reading(self) -> None:
        """Hand over nothing more."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...

    def peer_uid(self) -> int | None:
        """Return the user of the process at the other end; ``None`` where nobody can tell.

        To be asked when something has come from it.

        Raises:
            ConnectionError: If there is none any more.
            LookupError: If the system does not tell its user, though it tells others'; says why.
        """
        ...

    async def send_eof(self) -> None:
        """Tell the peer that nothing follows what was written. Never fails."""
        ...

    async def aclose(self) -> None:
        """Close at once. Never fails, and does not wait for the peer."""
        ...


class Listener(Protocol):
    """A listening socket of our own."""

    async def accept(self, has_room: Callable[[], bool] = lambda: True) -> Transport:
        """Return the next connection.

        Args:
            has_room: Whether one more may come. If not it is closed at once, and costs nothing.

        Raises:
            anyio.ClosedResourceError: If the listener is closed, also while waiting.
            OSError: If accepting fails, for want of descriptors as a rule.

        Cancellation:
            Safe: no connection is lost.
        """
        ...

    def duplicate(self) -> Listener:
        """Return a second handle; the port is free when all are closed."""
        ...

    def close(self) -> None:
        """Close this handle; may be repeated."""
        ...
