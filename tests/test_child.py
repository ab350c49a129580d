"""A program that works on strangers' files is limited, sees nothing of ours, and never outlives us."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from phaya.providers.child import Limits, Outcome, run_child

PYTHON = (Path(sys.prefix), Path(sys.base_prefix))
LIMITS = Limits(cpu_seconds=10, memory_bytes=1 << 30, file_bytes=1 << 20, wall_seconds=20, reads=PYTHON, forks=True)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}  # the server's loop


async def run(folder: Path, *argv: str, limits: Limits = LIMITS) -> tuple[Outcome, list[str]]:
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    return await run_child(argv, folder=folder, limits=limits, on_line=keep), lines


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> bool:
    """Whether the process ends within a few seconds; whoever adopted it may need a moment to bury it."""
    for _ in range(250):
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.anyio
async def test_lines_are_given_one_by_one_also_the_last(tmp_path: Path) -> None:
    outcome, lines = await run(tmp_path, "printf", "one\\ntwo\\r\\n\\nfour")

    assert (outcome.code, outcome.timed_out, lines) == (0, False, ["one", "two", "", "four"])


@pytest.mark.anyio
async def test_the_end_of_a_long_complaint_is_kept(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, *python("import sys; sys.stderr.write('x' * 500_000 + 'last words'); sys.exit(3)"))

    assert outcome.code == 3
    assert outcome.stderr_tail.endswith("xxxlast words")
    assert len(outcome.stderr_tail) == 4096


@pytest.mark.anyio
async def test_output_without_lines_does_not_pile_up(tmp_path: Path) -> None:
    outcome, lines = await run(tmp_path, *python("print('x' * 3_000_000, end='')"))

    assert outcome.code == 0
    assert [len(line) for line in lines] == [64 * 1024]


@pytest.mark.anyio
async def test_a_program_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_API_KEY", "secret")

    _, lines = await run(tmp_path, "env")

    assert [line for line in lines if line.partition("=")[0] not in ("PATH", "PWD", "_", "SHLVL")] == [
        "LANG=C.UTF-8",
        f"HOME={tmp_path}",
        f"TMPDIR={tmp_path}",
    ]


@pytest.mark.anyio
async def test_a_program_inherits_no_open_file(tmp_path: Path) -> None:
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        outcome, _ = await run(tmp_path, *python(f"import os; os.fstat({secret})"))
    finally:
        os.close(secret)

    assert outcome.code == 1
    assert "Bad file descriptor" in outcome.stderr_tail


@pytest.mark.anyio
async def test_a_program_works_in_its_folder_and_reads_no_input(tmp_path: Path) -> None:
    outcome, lines = await run(tmp_path, "sh", "-c", "pwd -P; cat; ps -o ni= -p $$ 2>/dev/null || nice")

    assert outcome.code == 0
    assert lines[0] == str(tmp_path.resolve())
    assert int(lines[1]) >= 10


@pytest.mark.anyio
async def test_a_program_lets_us_have_the_processor_first_although_its_session_is_another(tmp_path: Path) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this system does not share the processor out among sessions")
    told: list[str] = []

    async def keep(line: str) -> None:
        told.append(Path(f"/proc/{line}/autogroup").read_text())

    await run_child(("sh", "-c", "echo $$; sleep 0.1"), folder=tmp_path, limits=LIMITS, on_line=keep)

    assert told[0].split()[1:] == ["nice", "12"]
    assert Path("/proc/self/autogroup").read_text().split()[1:] != ["nice", "12"]


@pytest.mark.anyio
async def test_processor_time_is_limited(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, *python("while True: pass"), limits=replace(LIMITS, cpu_seconds=1))

    assert outcome.code in (-signal.SIGXCPU, -signal.SIGKILL)


@pytest.mark.anyio
async def test_the_size_of_files_is_limited(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, "dd", "if=/dev/zero", "of=file", "bs=65536", "count=64")

    assert outcome.code == -signal.SIGXFSZ
    assert size(tmp_path / "file") == LIMITS.file_bytes


def size(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit on address space")
async def test_memory_is_limited(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, *python("bytearray(2 << 30)"))

    assert outcome.code == 1
    assert "MemoryError" in outcome.stderr_tail


@pytest.mark.anyio
async def test_time_is_limited(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, "sleep", "60", limits=replace(LIMITS, wall_seconds=0.3))

    assert (outcome.code, outcome.timed_out) == (-signal.SIGTERM, True)


@pytest.mark.anyio
async def test_a_program_that_will_not_end_is_ended(tmp_path: Path) -> None:
    outcome, _ = await run(
        tmp_path,
        *("sh", "-c", "trap '' TERM; while :; do sleep 1; done"),
        limits=replace(LIMITS, wall_seconds=0.3),
    )

    assert (outcome.code, outcome.timed_out) == (-signal.SIGKILL, True)


@pytest.mark.anyio
async def test_a_program_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    outcome, _ = await run(tmp_path, "/nowhere/ffmpeg")

    assert (outcome.code, outcome.stderr_tail) == (127, "/nowhere/ffmpeg: No such file or directory")


PARENT_AND_CHILD = ("sh", "-c", "sleep 60 & echo $$; echo $!; wait")


@pytest.mark.anyio
async def test_cancelling_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    pids: list[int] = []
    started = asyncio.Event()

    async def keep(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            started.set()

    task = asyncio.create_task(run_child(PARENT_AND_CHILD, folder=tmp_path, limits=LIMITS, on_line=keep))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not alive(pids[0])
    assert await gone(pids[1])


@pytest.mark.anyio
async def test_what_a_program_left_behind_is_ended(tmp_path: Path) -> None:
    outcome, lines = await run(tmp_path, "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")

    assert outcome.code == 0
    assert await gone(int(lines[0]))


@pytest.mark.anyio
async def test_an_error_of_the_reader_ends_the_program_and_is_not_hidden(tmp_path: Path) -> None:
    pids: list[int] = []

    async def fail(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("the reader failed")

    with pytest.raises(RuntimeError, match="the reader failed"):
        await run_child(("sh", "-c", "echo $$; sleep 60"), folder=tmp_path, limits=LIMITS, on_line=fail)

    assert not alive(pids[0])


HOST = """
import asyncio, pathlib, sys
from phaya.providers.child import Limits, run_child

async def show(line):
    print(line, flush=True)

limits = Limits(cpu_seconds=10, memory_bytes=1 << 30, file_bytes=1 << 20, wall_seconds=60, forks=True)
command = ("sh", "-c", "echo $$; exec sleep 60")
asyncio.run(run_child(command, folder=pathlib.Path(sys.argv[1]), limits=limits, on_line=show))
"""


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="macOS tells no process of its parent's end")
async def test_a_program_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", HOST, str(tmp_path), stdout=subprocess.PIPE)
    assert host.stdout is not None
    pid = int(await host.stdout.readline())
    assert alive(pid)
    host.kill()
    await host.wait()

    assert await gone(pid)
