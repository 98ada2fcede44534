"""What a streamed method of the real client returns, item by item."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Self

__all__ = ["Items"]

_NOTHING: Final = object()


class Items:
    """Iterates over what a method has returned.

    Args:
        iterator: Made of that.
    """

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        self._iterator = iterator
        self._ahead: Any = _NOTHING
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._ahead is not _NOTHING:
            item, self._ahead = self._ahead, _NOTHING
            return item
        if self._ended:
            raise StopAsyncIteration
        return await anext(self._iterator)

    async def throw(self, cancellation: BaseException) -> None:
        """Hand over a cancellation that came between two items, and not from outside.

        A generator may have a limit or a task group open around its ``yield``. When that strikes,
        it is whoever waits for the next item to be asked for that is cancelled; but the
        cancellation is the generator's to catch. Then its next item, or its end, comes as ever.

        Raises:
            BaseException: The cancellation, if it was not the generator's; what that makes of it.
        """
        generator = self._iterator
        if self._ended or not isinstance(generator, AsyncGenerator):
            raise cancellation
        if self._ahead is not _NOTHING:
            raise RuntimeError("a generator must not go on to yield inside a cancelled scope")
        try:
            self._ahead = await generator.athrow(cancellation)
        except StopAsyncIteration:
            self._ended = True
