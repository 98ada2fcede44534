"""The demo shows what it claims, and fails where it does not."""

from __future__ import annotations

import io
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from rich.console import Console

from cluster_client import cli
from cluster_client.demo import evidence, run, steps
from cluster_client.demo.evidence import Handles, Ledger, audit, database_client_class
from cluster_client.demo.run import run_demo
from cluster_client.demo.stage import Actor, DemoError, Stage, gather
from cluster_client.demo.steps import STEPS, Finding, Step
from cluster_client.demo.worker import Load
from database_client import DatabaseClient
from support.ports import free_port
from support.programs import program
from support.times import scaled

DEMO = ("-m", "cluster_client.cli", "demo")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs /proc to list open files"
)


def broken(
    show: Callable[[Stage], Awaitable[Finding]], port: int, backend: str = "asyncio"
) -> tuple[bool, str]:
    """Run the first step and another one; returns the verdict and what was shown."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    shown = (STEPS[0], Step("This one", show))
    return run_demo(port=port, backend=backend, console=console, steps=shown), text.getvalue()


class TestEverythingWorks:
    async def test_each_step_is_seen(self, port: int, anyio_backend_name: str) -> None:
        async with program(*DEMO, "--port", port, "--backend", anyio_backend_name) as demo:
            code = await demo.end()
        text = "".join(demo.output)
        assert code == 0, text
        assert f"port {port}, {anyio_backend_name}" in text
        for seen in (
            r"A \d+ (leads|follows) +B \d+ (leads|follows) +C \d+ (leads|follows) +D \d+ ",
            r"answered all: GREEK CAPITAL LETTER OMEGA",
            r'published "hello"',
            r"[A-D] answered its first call \d+ ms after the kill",
            r"64 calls in flight at the kill",
            r"[\d,]+ made, [1-9]\d* sent again, 0 failed",
            r"[\d,]+ confirmed and counted, 0 lost, 0 doubled",
            r'published "hello again"',
            r"database closed, port free",
            r"All 7 steps were seen to work",
        ):
            assert re.search(seen, text), f"{seen} not in {text}"
        handles = re.findall(r"one handle is open, [A-D]'s|not checked", text)
        assert len(handles) == 2

    async def test_ctrl_c_leaves_nothing_behind(self, port: int, anyio_backend_name: str) -> None:
        async with program(*DEMO, "--port", port, "--backend", anyio_backend_name) as demo:
            await demo.line("follows")
            assert await demo.interrupt() != 0
        assert not any("All 7 steps" in line for line in demo.output)
        assert steps.port_trouble(port) is None


class TestAnythingBroken:
    def test_is_told_by_the_exit_code(
        self, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(steps, "open_handles", lambda file: Handles((1, 2), 3, 0))
        monkeypatch.setattr(sys, "argv", ["cluster-client", "demo", "--port", str(port)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        text = capsys.readouterr().out
        assert "one handle on the database, but these have one: 1, 2" in " ".join(text.split())
        assert "Not seen to work: One handle on the database is open" in text

    def test_port_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(steps, "port_trouble", lambda port: "address already in use")
        worked, text = broken(STEPS[1].show, 7777)
        assert not worked
        assert "port 7777: address already in use; choose another one with --port" in text

    def test_step_that_hangs_is_cut_off(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        async def hang(stage: Stage) -> Finding:
            monkeypatch.setattr(run, "_STEP_LIMIT", scaled(0.01))
            return Finding()

        async def hang_for_ever(stage: Stage) -> Finding:
            await anyio.sleep_forever()
            raise AssertionError

        text = io.StringIO()
        shown = [STEPS[0], Step("first", hang), Step("second", hang_for_ever)]
        console = Console(file=text)
        assert not run_demo(port=port, backend="asyncio", console=console, steps=shown)
        assert "it took longer than" in text.getvalue()

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_process_that_dies_is_noticed(self, port: int, backend: str) -> None:
        async def die_and_ask(stage: Stage) -> Finding:
            await stage.actors[0].kill()
            await gather(stage.actors, lambda actor: actor.ask("status"))
            return Finding()

        worked, text = broken(die_and_ask, port, backend)
        assert not worked
        assert "A ended too early" in text

    def test_order_that_fails_is_told(self, port: int) -> None:
        async def ask_nonsense(stage: Stage) -> Finding:
            await stage.actors[2].ask("publish", note=1)
            return Finding()

        worked, text = broken(ask_nonsense, port)
        assert not worked
        assert "C: publish: ValueError" in text
        assert "has a 'note' that is not of type str" in text

    def test_lone_leader_is_required(self, port: int) -> None:
        async def forget(stage: Stage) -> Finding:
            for actor in stage.actors:
                actor.leads = False
            return await steps.invoke(stage)

        worked, text = broken(forget, port)
        assert not worked
        assert "one process must lead, but nobody said so" in text

    def test_close_that_leaves_something_open_is_noticed(
        self, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steps, "open_handles", lambda file: Handles((7,), 3, 0))
        worked, text = broken(steps.close, port)
        assert not worked
        assert "processes (7,) have the database open still" in text

    async def test_port_of_another_program_is_named(
        self, port: int, tmp_path: Path, anyio_backend_name: str
    ) -> None:
        async def be_rude(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100)
                await stream.receive()

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, be_rude)
            async with Stage.open(port, tmp_path, anyio_backend_name) as stage:
                with pytest.raises(DemoError, match=rf"A: port {port} of 127.0.0.1 is occupied"):
                    await stage.start("A")
            tasks.cancel_scope.cancel()


class TestChecks:
    """Each evidence of failure is taken for one."""

    async def test_answer_of_another_process(self, tmp_path: Path) -> None:
        stage = fake_stage(tmp_path, {"invoke": {"pid": 99, "seconds": 0.0, "name": "x"}})
        with pytest.raises(DemoError, match="A was answered by process 99, not by the leader"):
            await steps.invoke(stage)

    async def test_exit_code(self, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match="A ended with exit code 3"):
            await steps.close(fake_stage(tmp_path, {}))

    async def test_different_leaderships(self, tmp_path: Path) -> None:
        stage = fake_stage(tmp_path, {"status": {"leads": True, "epoch": "1"}})
        stage.actors += fake_stage(tmp_path, {"status": {"leads": False, "epoch": "2"}}).actors
        stage.actors[1].name = "B"
        with pytest.raises(DemoError, match="different leaderships"):
            await steps._ask_who_leads(stage)

    async def test_same_epoch_after_a_kill(self, tmp_path: Path) -> None:
        answers = {
            "status": {"leads": True, "epoch": "1"},
            "recovered": {"at": 0.0},
            "stop_load": {},
        }
        stage = fake_stage(tmp_path, answers)
        stage.actors += fake_stage(tmp_path, answers).actors
        stage.actors[1].name, stage.actors[1].leads = "B", False
        with pytest.raises(DemoError, match="epoch 1 goes on after its leader's death"):
            await steps.failover(stage)

    async def test_failed_call(self, tmp_path: Path) -> None:
        loads = {"A": {"made": 2, "failures": ["vote A-2: OSError()"]}}
        with pytest.raises(DemoError, match=r"calls of A failed: vote A-2: OSError\(\)"):
            await steps._check_calls(fake_stage(tmp_path, {}), loads)

    async def test_kill_without_load(self, tmp_path: Path) -> None:
        stage = fake_stage(tmp_path, {"status": {"resent": 0}})
        with pytest.raises(DemoError, match="not killed under load"):
            await steps._check_calls(stage, {"A": {"made": 2, "failures": []}})

    def test_port(self, tmp_path: Path) -> None:
        port = free_port()
        assert steps.port_trouble(port) is None
        with closing(socket.socket()) as sock:
            sock.bind(("127.0.0.1", port))
            sock.listen()
            assert steps.port_trouble(port) == "address already in use"

    def test_default_port_is_a_free_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "port_trouble", lambda port: "in use" if port < 7780 else None)
        assert run._free_port() == 7780

    def test_missing_proc_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(evidence, "_PROC", tmp_path)
        assert evidence.open_handles(tmp_path) is None
        assert "not checked" in steps._one_handle(fake_stage(tmp_path, {}))

    @needs_proc
    def test_every_handle_is_found(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        with file.open(), file.open():
            handles = evidence.open_handles(file)
        assert handles is not None
        assert handles.pids == (os.getpid(),) * 2
        assert handles.seen > 0

    async def test_failed_vote_ends_the_load(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        class Broken:
            epoch = "1"

            async def vote_once(self, vote_id: str, code_point: int) -> int:
                raise OSError("disk full")

        client: Any = Broken()
        with Ledger(tmp_path, "A") as ledger:
            load = Load(client, ledger, "A")
            await load.run(3)
            await load.stop()
        assert load.failures == ["vote A-1: OSError('disk full')"]
        told = capfd.readouterr().out
        assert told == """{"event": "failed", "error": "vote A-1: OSError('disk full')"}\n"""


class TestAudit:
    """Ledgers against database."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> sqlite3.Connection:
        client = DatabaseClient(tmp_path / "characters.db")
        client.start()
        for vote_id in ("A-1", "A-2", "B-1", "B-2"):
            client.vote_once(vote_id, evidence.LETTER)
        client.close()
        return sqlite3.connect(tmp_path / "characters.db")

    @pytest.fixture
    def folder(self, tmp_path: Path, database: sqlite3.Connection) -> Path:
        """All fits: A lives, B was killed with a vote in flight."""
        with Ledger(tmp_path, "A") as a, Ledger(tmp_path, "B") as b:
            for ledger, vote_id in ((a, "A-1"), (a, "A-2"), (b, "B-1"), (b, "B-2")):
                ledger.sent(vote_id)
                if vote_id != "B-2":
                    ledger.told(vote_id)
        return tmp_path

    def test_all_is_well(self, folder: Path) -> None:
        found = audit(folder, alive=["A"], killed="B")
        assert (found.told, found.unheard, found.problems) == (3, 1, ())

    @pytest.mark.parametrize(
        ("damage", "problems"),
        [
            (
                "DELETE FROM journal WHERE id = 'A-1'",
                ["1 votes lost, A-1 for one", "3 votes were made, but 4 counted"],
            ),
            ("UPDATE characters SET votes = 5", ["4 votes were made, but 5 counted"]),
            (
                "INSERT INTO journal VALUES ('B-3', 65)",
                [
                    "5 votes were made, but 4 counted",
                    "1 votes that nobody made, B-3 for one",
                ],
            ),
        ],
    )
    def test_damage_is_found(
        self, folder: Path, database: sqlite3.Connection, damage: str, problems: Sequence[str]
    ) -> None:
        with database:
            database.execute(damage)
        assert audit(folder, alive=["A"], killed="B").problems == tuple(problems)

    def test_vote_that_a_survivor_was_not_told_of(self, folder: Path) -> None:
        found = audit(folder, alive=["B"], killed="A")
        assert found.problems == ("1 votes that nobody was told of, B-2 for one",)


class TestCommandLine:
    def test_missing_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "typer", None)
        with pytest.raises(SystemExit, match=r"needs typer.*pip install 'cluster-client\[cli\]'"):
            cli.main()

    def test_other_missing_module_is_no_missing_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cluster_client.demo.command", None)
        with pytest.raises(ModuleNotFoundError, match=r"demo\.command"):
            cli.main()

    def test_missing_trio(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr(sys, "argv", ["cluster-client", "demo", "--backend", "trio"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert "pip install 'cluster-client[trio]'" in capsys.readouterr().err

    def test_the_database_client_is_that_of_the_examples(self) -> None:
        assert database_client_class().__doc__ == DatabaseClient.__doc__

    def test_missing_example(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(evidence, "_PACKAGE", tmp_path)
        with pytest.raises(FileNotFoundError, match="reinstall cluster-client"):
            database_client_class()

    def test_screen_does_without_unicode(self, port: int) -> None:
        async def fail(stage: Stage) -> Finding:
            raise DemoError("broken")

        raw = io.BytesIO()
        shown = [Step("This one", all_well), Step("That one", fail)]
        with io.TextIOWrapper(raw, encoding="ascii") as file:
            console = Console(file=file)
            assert not run_demo(port=port, backend="asyncio", console=console, steps=shown)
            file.flush()
            text = raw.getvalue().decode()
        assert "ok This one" in text
        assert "FAILED That one" in text


async def all_well(stage: Stage) -> Finding:
    return Finding()


def fake_stage(folder: Path, answers: dict[str, Any]) -> Stage:
    """Return a stage with one leading actor, who gives prepared answers."""

    class Fake(Actor):
        def __init__(self) -> None:
            self.name = "A"
            self.leads = True

        @property
        def pid(self) -> int:
            return 1

        async def ask(self, order: str, **fields: Any) -> Any:
            return answers[order]

        async def order(self, order: str, **fields: Any) -> int:
            return 1

        async def expect(self, **fields: Any) -> dict[str, Any]:
            found: dict[str, Any] = answers.get(fields["event"], {})
            return found

        async def kill(self) -> None:
            pass

        async def close(self) -> int:
            return 3

    stage = Stage(free_port(), folder, "asyncio")
    stage.actors = [Fake()]
    return stage
