"""A client's tasks, and their end in a process that they do not belong to."""

from __future__ import annotations

from types import TracebackType

import anyio
import anyio.abc

from cluster_client import _backend, _fork

__all__ = ["OwnedTasks"]


class OwnedTasks:
    """A task group that is cancelled at its end, and that a forked child leaves as it is.

    On asyncio a child has no running event loop, until that of its parent gets its turn again:
    the tasks can neither be cancelled nor waited for then.
    """

    async def __aenter__(self) -> anyio.abc.TaskGroup:
        self._generation = _fork.generation()
        self._group = anyio.create_task_group()
        return await self._group.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._generation != _fork.generation() and not _backend.is_running():
            return None
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(exc_type, exc, traceback)
