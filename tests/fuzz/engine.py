"""One target under atheris, in a process of its own; started by `fuzz.__main__`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random
from typing import Any, Final

import atheris

from fuzz.findings import Watch

HANG: Final = 30
"""Seconds after which the engine takes an input for one that hangs; others take milliseconds."""

MEMORY: Final = 2048
"""MiB at which it ends the process."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    given = parser.parse_args()
    with atheris.instrument_imports(include=["cluster_protocol", "cluster_client"]):
        from fuzz.targets import TARGETS
    target = TARGETS[given.target]
    seeds = given.folder / "seeds"
    seeds.mkdir()
    for index, seed in enumerate(target.seeds()):
        (seeds / f"{index:04}").write_bytes(seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        def noise(part: bytes) -> bytes:
            changed: bytes = atheris.Mutate(part, max_size)
            return changed

        return target.mutate(data, Random(seed), noise)[:max_size]

    options: list[Any] = [
        sys.argv[0],
        f"-max_total_time={given.seconds}",
        f"-timeout={HANG}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={target.max_size}",
        f"-artifact_prefix={given.folder}/",
        str(given.corpus),
        str(seeds),
    ]
    watch = Watch(target.check, given.folder / "findings")
    atheris.Setup(options, watch, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
