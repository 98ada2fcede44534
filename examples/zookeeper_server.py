"""A real ZooKeeper server on a free port, from Debian's package, for examples and tests.

``apt-get install zookeeper`` brings it, with the Java that it needs.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_JARS: Final = Path("/usr/share/java")
_POLL: Final = 0.05
_CONFIGURATION: Final = """\
tickTime=200
maxSessionTimeout=60000
dataDir={directory}/data
clientPort={port}
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=*
"""
_LOGGING: Final = """\
log4j.rootLogger=INFO, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} %-5p %C{1} %m%n
"""


def missing() -> str | None:
    """Say what has to be installed; ``None`` if nothing has."""
    if shutil.which("java") is None or not (_JARS / "zookeeper.jar").exists():
        return "ZooKeeper is not installed: apt-get install zookeeper"
    return None


def configure(directory: Path, port: int) -> list[str]:
    """Write a server's configuration into a directory, and return the command that runs it."""
    (directory / "zoo.cfg").write_text(_CONFIGURATION.format(directory=directory, port=port))
    (directory / "log4j.properties").write_text(_LOGGING)
    classes = [
        directory,  # its configuration of the log
        *(_JARS / f"{name}.jar" for name in ("zookeeper", "slf4j-log4j12", "log4j-1.2")),
    ]
    return [
        *("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        # What the kernel has is safe from a kill: no need to wait for the disk.
        "-Dzookeeper.forceSync=no",
        *("-cp", ":".join(map(str, classes))),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(directory / "zoo.cfg"),
    ]


def ask(port: int, word: str, limit: float) -> str:
    """Send a four-letter word to a server, and return the answer.

    Args:
        port: Of the server.
        word: Such as ``srvr``.
        limit: For each step, in seconds.

    Raises:
        OSError: If it does not answer.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=limit) as sock:
        sock.sendall(word.encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def serves(port: int, limit: float = 0.5) -> bool:
    """Tell whether a server is ready."""
    with suppress(OSError):  # in its first moments it may never answer
        return "Mode: standalone" in ask(port, "srvr", limit)
    return False


def sessions(port: int, limit: float = 5.0) -> set[int]:
    """Return the ids of all sessions that have a connection to the server."""
    return {int(found, 16) for found in re.findall(r"sid=0x([0-9a-f]+)", ask(port, "cons", limit))}


@contextmanager
def running_server(directory: Path) -> Iterator[int]:
    """Run a server for the time of a block; gives its port.

    Raises:
        RuntimeError: If it ends before it serves; has its log.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    log = directory / "zookeeper.log"
    with log.open("wb") as output:
        command = configure(directory, port)
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603
    try:
        while not serves(port):
            if process.poll() is not None:
                raise RuntimeError(f"ZooKeeper ended: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL)  # noqa: TID251 - that it listens now shows in no other way
        yield port
    finally:
        process.kill()
        process.wait()
