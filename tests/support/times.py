"""All times of the tests hang on one factor, for slow machines."""

from __future__ import annotations

import os
from typing import Final

SCALE: Final = float(os.environ.get("CLUSTER_CLIENT_TEST_SCALE", "1"))
"""Set it to 5, say, under a debugger or on an overloaded machine."""

LIMIT: Final = 20.0 * SCALE
"""Nothing that a test waits for takes longer; reaching it is a failure."""


def scaled(seconds: float) -> float:
    """Return a duration for this machine."""
    return seconds * SCALE
