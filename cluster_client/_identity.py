"""What the clients of one channel must have in common (SPEC section 5.6)."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from cluster_protocol import Offer

__all__ = ["Identity"]

_MAX_CLASS_NAME: Final = 200
_FINGERPRINT: Final = 32
_SHOWN: Final = 8


class Identity(NamedTuple):
    """The real client's class, and what its configuration is recognised by.

    Attributes:
        class_name: The class's name within its module: a program's ``__main__`` is another module
            in another program.
        fingerprint: Of the ``identity`` option, as hexadecimal; ``None`` without one.
    """

    class_name: str
    fingerprint: str | None

    @classmethod
    def of(cls, real: type, identity: str | bytes | None) -> Identity:
        fingerprint = None
        if identity is not None:
            if isinstance(identity, str):
                identity = identity.encode(errors="surrogatepass")
            fingerprint = hashlib.sha256(identity).hexdigest()[:_FINGERPRINT]
        return cls(real.__qualname__[:_MAX_CLASS_NAME], fingerprint)

    @classmethod
    def of_offer(cls, offer: Offer) -> Identity | None:
        """Return what a follower has told; ``None`` if it has not."""
        return None if offer.class_name is None else cls(offer.class_name, offer.identity)

    def describe(self, pid: int) -> str:
        """Return it for an error; of the fingerprint as much as tells two apart."""
        identity = (
            "no identity" if self.fingerprint is None else f"identity {self.fingerprint[:_SHOWN]}…"
        )
        return f"process {pid} with the class {self.class_name} and {identity}"
