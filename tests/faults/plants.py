"""Bugs to plant in a worker, so that the chaos run can show that it finds them.

Each replaces something of the product in the process that plants it; the product itself knows
nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cluster_client._calling import Calling
from cluster_client._leader import Leader
from cluster_client._link import Link
from cluster_protocol import Frame


def resend_everything() -> None:
    """After a loss send every call again, as if all were idempotent."""
    original: Callable[..., Any] = Calling._after_loss

    def after_loss(self: Calling, *args: Any, repeatable: bool) -> Any:
        del repeatable
        return original(self, *args, repeatable=True)

    Calling._after_loss = after_loss  # type: ignore[method-assign, assignment]


def answer_the_next_caller() -> None:
    """Give an answer whose caller has gone to one that still waits, as reused ids would."""
    original = Link._on_answer

    def on_answer(self: Link, frame: Frame) -> None:
        known = frame.request_id in self._pending or frame.request_id in self._callbacks
        if not known and self._pending:
            self._pending.pop(next(iter(self._pending))).settle(frame)
            return
        original(self, frame)

    def abandon(self: Link, request_id: int) -> None:
        self._pending.pop(request_id, None)  # and the leader is not told, so it does answer

    Link._on_answer = on_answer  # type: ignore[method-assign]
    Link.abandon = abandon  # type: ignore[method-assign]


def release_the_port_early() -> None:
    """Free the port when the leadership begins to end, with the real client still open."""
    original = Leader._hand_over

    async def hand_over(self: Leader, limit: float) -> None:
        self._seat.vacate()
        await original(self, limit)

    Leader._hand_over = hand_over  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "resend": resend_everything,
    "late-answer": answer_the_next_caller,
    "early-port": release_the_port_early,
}
