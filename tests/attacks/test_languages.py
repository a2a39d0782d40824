"""The wall around programs of other languages: the same attacks, from interpreters that know nothing of Python."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from observers.cells import ask
from observers.languages import Spoken, speaking
from observers.processes import descendants, named

from hotcell.results import Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.mark.threat("language.files")
def test_the_hosts_files_are_not_there(spoken: Spoken, tmp_path: Path) -> None:
    """In any language: /etc/passwd is a stub, home, project and temporary files of the host are not in reach."""
    victim = tmp_path / "victim"
    victim.write_text("of the host")
    victim.chmod(0o644)
    tmp_path.chmod(0o755)
    accounts = ask(spoken.sandbox, spoken.samples.reads.format("/etc/passwd"))
    assert accounts.status is Status.OK
    assert not set(Path("/etc/passwd").read_text().splitlines()) & set(accounts.stdout.splitlines())
    for path in ("/etc/shadow", victim, __file__, "/etc/hostname", "/proc/1/environ", "/proc/2/environ"):
        assert ask(spoken.sandbox, spoken.samples.reads.format(path)).stdout == "refused\n", path


@pytest.mark.threat("language.files")
def test_nothing_outside_can_be_written(spoken: Spoken) -> None:
    """In any language: system files, the interpreter and its neighbours cannot be changed."""
    for path in ("/etc/passwd", "/usr/bin/planted", "/usr/lib/planted", "/planted", "/dev/planted", "/proc/self/mem/x"):
        assert ask(spoken.sandbox, spoken.samples.writes.format(path)).stdout == "refused\n", path
        assert not os.path.lexists("/usr/bin/planted")


@pytest.mark.threat("language.tools")
def test_only_the_named_programs_are_there(spoken: Spoken) -> None:
    """A cell sees its interpreter and the tools of its language, none of the host's other programs."""
    outcome = ask(spoken.sandbox, spoken.samples.lists.format("/usr/bin"))
    seen = set(outcome.stdout.split()) - {".", ".."}
    assert not seen & {"su", "sudo", "mount", "curl", "apt", "apt-get", "gcc", "git", "ssh", "passwd", "nsenter"}
    if spoken.name == "bash":
        assert {"bash", "sh", "grep", "sort"} <= seen
    else:
        assert not seen & {"bash", "sh", "dash", "cat", "env"}


@pytest.mark.threat("language.tools")
def test_a_python_cell_gains_no_shell(spoken: Spoken, sandbox: LocalSandbox) -> None:
    """Another language in the same sandbox shows its programs to its own cells alone."""
    assert ask(spoken.sandbox, spoken.samples.nothing).status is Status.OK
    code = "import os; [name for name in ('sh', 'bash', 'node', 'perl', 'cat') if os.path.exists('/usr/bin/' + name)]"
    assert ask(sandbox, code).value == []
    code = "import os, subprocess\ntry: subprocess.run(['/bin/sh', '-c', 'echo shell'])\nexcept OSError: print('none')"
    assert ask(sandbox, code).stdout == "none\n"


@pytest.mark.threat("language.network")
def test_no_listener_of_the_host_is_reached(spoken: Spoken) -> None:
    """In any language: a server on the host's loopback hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        outcome = ask(spoken.sandbox, spoken.samples.connects.format(server.getsockname()[1]))
        assert outcome.stdout == "refused\n", outcome
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.threat("language.environment")
def test_the_applications_environment_is_not_inherited(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any language: the environment is made from nothing, also that of a fork server started just now."""
    monkeypatch.setenv("HOTCELL_TEST_SECRET", "hunter2")
    monkeypatch.setenv("NODE_OPTIONS", "--title=hunter2")
    with LocalSandbox(pool_size=0) as sandbox:
        outcome = ask(sandbox.for_language(spoken.name), spoken.samples.environment)
    assert outcome.status is Status.OK
    assert "PATH=" in outcome.stdout
    assert "hunter2" not in outcome.stdout
    assert "PYTHON" not in outcome.stdout


@pytest.mark.threat("language.time")
def test_time_ends_it(spoken: Spoken) -> None:
    """In any language: an endless loop and an endless wait end at timeout_seconds, work at cpu_seconds."""
    for code in (spoken.samples.busy, spoken.samples.sleeps):
        outcome = ask(spoken.sandbox, code, timeout_seconds=0.5)
        assert (outcome.status, outcome.decided_by) == (Status.TIMEOUT, "limits"), outcome
    outcome = ask(spoken.sandbox, spoken.samples.busy, timeout_seconds=20, cpu_seconds=0.3)
    assert outcome.status is Status.TIMEOUT
    assert "cpu_seconds" in outcome.reason
    assert outcome.usage.cpu_seconds >= 0.3


@pytest.mark.threat("language.memory")
def test_memory_ends_it(spoken: Spoken) -> None:
    """In any language: who takes memory without end is told MEMORY_LIMIT, whoever noticed first."""
    outcome = ask(spoken.sandbox, spoken.samples.hoards, memory_bytes=48 << 20, timeout_seconds=30)
    assert (outcome.status, outcome.decided_by) == (Status.MEMORY_LIMIT, "limits"), outcome
    assert outcome.usage.peak_memory_bytes >= 48 << 20


@pytest.mark.threat("language.memory")
def test_memory_outside_the_heap_of_javascript_is_counted(sandbox: LocalSandbox) -> None:
    """Buffers are not in V8's heap, so its own limit does not see them; the group or the watchdog does."""
    own = speaking(sandbox, "javascript")
    code = "const held = []; for (;;) held.push(Buffer.alloc(1 << 20, 1))"
    outcome = ask(own, code, memory_bytes=48 << 20, timeout_seconds=30)
    assert outcome.status is Status.MEMORY_LIMIT, outcome


@pytest.mark.threat("language.memory")
def test_an_abort_with_memory_to_spare_is_no_memory_limit(sandbox: LocalSandbox) -> None:
    """What the heap limit of JavaScript does to a program, a program can do to itself: then it is a signal."""
    own = speaking(sandbox, "javascript")
    outcome = ask(own, "process.abort()")
    assert (outcome.status, outcome.decided_by) == (Status.KILLED, "kernel")
    assert "SIGABRT" in outcome.reason


@pytest.mark.threat("language.output")
def test_a_flood_of_output_ends_it(spoken: Spoken) -> None:
    """In any language: more than output_bytes is OUTPUT_LIMIT, and no more than that is kept."""
    outcome = ask(spoken.sandbox, spoken.samples.floods, output_bytes=4096)
    assert outcome.status is Status.OUTPUT_LIMIT
    assert len(outcome.stdout) + len(outcome.stderr) <= 4096


@pytest.mark.threat("language.processes")
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_a_fork_bomb_is_refused(spoken: Spoken) -> None:
    """In any language: processes without end are stopped at the limit, and none is left."""
    before = len(descendants(os.getpid()))
    outcome = ask(spoken.sandbox, spoken.samples.multiplies, processes=8, timeout_seconds=8)
    assert outcome.status in (Status.OK, Status.TIMEOUT), outcome  # bash tries again, slower and slower
    assert outcome.usage.processes <= 8 + 14
    assert len(descendants(os.getpid())) < before + 8


@pytest.mark.threat("language.processes")
def test_a_child_that_is_left_dies_with_the_cell(sandbox: LocalSandbox) -> None:
    """A background job does not outlive the script that started it, nor delay its result."""
    own = speaking(sandbox, "bash")
    outcome = ask(own, "(exec -a left-behind sleep 60) & echo started", timeout_seconds=20)
    assert (outcome.status, outcome.stdout) == (Status.OK, "started\n")
    assert outcome.usage.wall_seconds < 15
    assert not named("left-behind", os.getpid())


@pytest.mark.threat("language.processes")
def test_children_left_in_any_language_do_not_delay_the_result(spoken: Spoken) -> None:
    """In any language: what the program leaves running is ended, and the result is there at once."""
    outcome = ask(spoken.sandbox, spoken.samples.leaves_a_child, timeout_seconds=20)
    assert (outcome.status, outcome.stdout) == (Status.OK, "started\n"), outcome
    assert outcome.usage.wall_seconds < 15


@pytest.mark.threat("language.forgery")
def test_a_signal_is_the_kernels_word(spoken: Spoken) -> None:
    """In any language: how an interpreter was ended is read from the kernel, not believed."""
    for code, name in ((spoken.samples.kills_itself, "SIGKILL"), (spoken.samples.crashes, "SIGABRT")):
        outcome = ask(spoken.sandbox, code)
        assert (outcome.status, outcome.decided_by) == (Status.KILLED, "kernel"), outcome
        assert name in outcome.reason


@pytest.mark.threat("language.forgery")
def test_the_wire_is_out_of_reach(sandbox: LocalSandbox) -> None:
    """The program has three descriptors and can neither see nor open those of the process that reports on it."""
    own = speaking(sandbox, "bash")
    outcome = ask(own, "ls /proc/self/fd; ls /proc/$PPID/fd /proc/$PPID/mem 2>&1 | grep -c . ; echo x >&3")
    assert outcome.stdout.split()[:4] == ["0", "1", "2", "3"]  # 3 is what ls lists with
    assert outcome.status is Status.ERROR
    assert "Bad file descriptor" in outcome.stderr


@pytest.mark.threat("language.forgery")
def test_whoever_ends_the_process_that_reports_ends_the_cell(sandbox: LocalSandbox) -> None:
    """Without a report there is no success: the parent can be killed, and then that is what is told."""
    own = speaking(sandbox, "bash")
    outcome = ask(own, "kill -9 $PPID; echo alive; sleep 5")
    assert outcome.status is Status.KILLED
    assert "SIGKILL" in outcome.reason


@pytest.mark.threat("language.forgery")
def test_a_forged_report_is_data(spoken: Spoken) -> None:
    """Whatever a program writes in the places of its value and its error changes no status and breaks nothing."""
    own = speaking(spoken.sandbox, "bash") if spoken.name == "bash" else spoken.sandbox
    hostile = '{"type": "Fake\\u0007", "line": 99999999999, "message": {"x": []}, "traceback": 3, "memory_error": 1}'
    deep = "[" * 5000 + "]" * 5000
    codes = {
        "bash": (f"echo '{hostile}' >$HOTCELL_ERROR; exit 3", f"printf %s '{deep}' >$HOTCELL_RESULT"),
        "javascript": (
            f"require('fs').writeFileSync(process.env.HOTCELL_ERROR, `{hostile}`); process.exit(3)",
            f"require('fs').writeFileSync(process.env.HOTCELL_RESULT, '{deep}')",
        ),
        "perl": (
            f"open(my $f, '>', $ENV{{HOTCELL_ERROR}}); print $f q({hostile}); close $f; exit 3",
            f"open(my $f, '>', $ENV{{HOTCELL_RESULT}}); print $f '{deep}'",
        ),
    }[spoken.name]
    outcome = ask(own, codes[0])
    assert outcome.status is Status.ERROR, outcome
    assert outcome.error is not None
    outcome = ask(own, codes[1])
    assert outcome.status is Status.OK, outcome


@pytest.mark.threat("language.forgery")
def test_links_in_the_place_of_a_value_lead_nowhere(sandbox: LocalSandbox) -> None:
    """A link or a directory where the value should be neither blocks the worker nor has it read another file."""
    own = speaking(sandbox, "bash")
    for make in ("ln -s /dev/zero", "ln -s /etc/passwd", "ln -s nowhere", "ln -s /proc/self/environ", "mkdir"):
        outcome = ask(own, f"{make} $HOTCELL_RESULT", timeout_seconds=20, value_bytes=2048)
        assert (outcome.status, outcome.value, outcome.value_repr) == (Status.OK, None, None), outcome


@pytest.mark.threat("language.kernel")
def test_forbidden_calls_are_named_in_programs_too(sandbox: LocalSandbox) -> None:
    """The filter holds over exec: ptrace from an interpreter ends the cell, and the result names the call."""
    own = speaking(sandbox, "perl")
    outcome = ask(own, "syscall(101, 0, 0, 0, 0); print 'alive'; sleep 5")
    assert (outcome.status, outcome.stdout) == (Status.KILLED, ""), outcome
    assert "ptrace" in outcome.reason


@pytest.mark.threat("language.kernel")
def test_no_program_makes_machine_code(sandbox: LocalSandbox) -> None:
    """The layer holds over exec: memory that is written cannot be made executable, so V8 runs without its compiler."""
    own = speaking(sandbox, "perl")
    # mmap(0, 4096, read write execute, private anonymous), then mprotect of a writable page
    code = "print syscall(9, 0, 4096, 7, 0x22, -1, 0), ' '; my $p = syscall(9, 0, 4096, 3, 0x22, -1, 0); "
    outcome = ask(own, code + "print syscall(10, $p, 4096, 5)")
    assert outcome.stdout == "-1 -1"
    own = speaking(sandbox, "javascript")
    assert ask(own, "typeof WebAssembly").value == "undefined"


@pytest.mark.threat("language.kernel")
def test_no_power_is_gained_by_starting_a_program(sandbox: LocalSandbox) -> None:
    """An interpreter runs without a capability and without the hope of one."""
    own = speaking(sandbox, "bash")
    status = dict(
        line.split(":\t", 1) for line in ask(own, "cat /proc/self/status").stdout.splitlines() if ":\t" in line
    )
    assert {status[f"Cap{kind}"].strip() for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.threat("language.cancel")
def test_cancelling_ends_every_process(spoken: Spoken) -> None:
    """In any language: a cancelled program is gone, with all it started."""
    import threading

    cancellation = Cancellation()
    timer = threading.Timer(0.5, cancellation.cancel)
    timer.start()
    started = time.monotonic()
    outcome = ask(spoken.sandbox, spoken.samples.sleeps, timeout_seconds=30, cancellation=cancellation)
    timer.join()
    assert outcome.status is Status.CANCELLED
    assert time.monotonic() - started < 20
