"""Real clients for services that many share; each needs an extra of its own name."""

from __future__ import annotations

__all__: list[str] = []
