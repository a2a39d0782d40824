"""Every language gives the same: streams, value, files, context, errors, exit codes, and one result for all of it."""

from __future__ import annotations

import dataclasses

import pytest
from observers.cells import ask
from observers.languages import Spoken, speaking

from hotcell import languages
from hotcell.errors import ConfigurationError, SandboxUnavailable
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import IsolationLevel, Severity, Status
from hotcell.sandboxes.local.sandbox import LocalSandbox


def test_both_streams_are_heard_apart(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.says)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (Status.OK, "out\n", "err\n"), outcome


def test_a_value_is_json_data(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.value)
    assert outcome.status is Status.OK, outcome
    assert outcome.value == {"a": [1, "ü"]}
    assert outcome.value_repr is not None


def test_a_program_without_a_value_has_none(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.nothing)
    assert (outcome.status, outcome.value, outcome.value_repr, outcome.stdout) == (Status.OK, None, None, "")


def test_a_value_that_does_not_fit_is_shown_in_part(spoken: Spoken) -> None:
    code = {
        "bash": 'printf \'"%5000s"\' x >"$HOTCELL_RESULT"',
        "javascript": "'x'.repeat(5000)",
        "perl": 'open(my $f, ">", $ENV{HOTCELL_RESULT}); print $f q(") . "x" x 5000 . q(")',
    }[spoken.name]
    outcome = ask(spoken.sandbox, code, value_bytes=2000)
    assert (outcome.status, outcome.value) == (Status.OK, None)
    assert outcome.value_repr is not None
    assert len(outcome.value_repr) <= 8000


def test_an_exit_status_is_told(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.exits)
    assert (outcome.status, outcome.decided_by) == (Status.ERROR, "code")
    assert outcome.reason == "The code exited with code 7."
    assert outcome.error is not None
    assert outcome.error.message == "exit status 7"


def test_an_error_has_the_line_it_happened_on(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.fails)
    assert outcome.status is Status.ERROR
    assert outcome.error is not None
    if spoken.name == "perl":  # nobody notes it for a language without a prelude; perl says it on stderr
        assert outcome.stderr.endswith("line 2.\n")
    else:
        assert (outcome.error.line, "missing" in outcome.error.source_line) == (2, True), outcome.error


def test_nothing_runs_when_the_languages_own_parser_refuses(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.broken)
    assert (outcome.status, outcome.stdout) == (Status.ERROR, "")
    if spoken.name != "perl":
        assert outcome.error is not None
        assert (outcome.error.type, outcome.error.line) == ("SyntaxError", 3)
        assert outcome.reason == "The code raised SyntaxError."


def test_the_context_is_there(spoken: Spoken) -> None:
    outcome = ask(spoken.sandbox, spoken.samples.context, context={"word": "it's $HOME `id`", "number": 3})
    assert outcome.stdout == "it's $HOME `id`:3\n", outcome


def test_files_go_in_and_come_out(spoken: Spoken) -> None:
    data = bytes(range(256))
    outcome = ask(spoken.sandbox, spoken.samples.copies, files={"in.txt": data}, artifacts=("*",))
    assert outcome.status is Status.OK, outcome
    assert {item.name: item.content for item in outcome.artifacts} == {"out.txt": data}


def test_text_of_all_kinds_is_heard_as_it_was_written(spoken: Spoken) -> None:
    assert ask(spoken.sandbox, spoken.samples.unicode).stdout == "grüße 🎈\n"


def test_stdin_is_empty(spoken: Spoken) -> None:
    assert ask(spoken.sandbox, spoken.samples.stdin).stdout == "[0]\n"


def test_every_run_is_the_first(spoken: Spoken) -> None:
    name = "/tmp/left-behind"
    assert ask(spoken.sandbox, spoken.samples.writes.format(name)).stdout == ""
    assert ask(spoken.sandbox, spoken.samples.reads.format(name)).stdout == "refused\n"


def test_what_it_used_is_measured(spoken: Spoken) -> None:
    usage = ask(spoken.sandbox, spoken.samples.says).usage
    assert usage.cpu_seconds > 0
    assert usage.wall_seconds > 0
    assert usage.processes >= 2
    assert usage.output_bytes == 8


def test_a_cell_prepared_without_a_pool_does_the_same(spoken: Spoken) -> None:
    """Nothing was started ahead; the interpreter comes up while the request waits."""
    with LocalSandbox(pool_size=0) as cold:
        own = cold.for_language(spoken.name)
        assert ask(own, spoken.samples.says).stdout == "out\n"
        assert own.info.isolation is IsolationLevel.NAMESPACE


def test_a_waiting_cell_has_its_interpreter_running_and_serves_with_it(sandbox: LocalSandbox) -> None:
    own = speaking(sandbox, "javascript")
    assert own.wait_until_warm()
    outcome = ask(own, "console.log(process.uptime() > 0.2)")  # it has waited for us
    if outcome.stdout == "false\n":  # started just before
        assert own.wait_until_warm()
        outcome = ask(own, "const end = Date.now() + 300; while (Date.now() < end); console.log(true)")
    assert outcome.stdout == "true\n"


# --- the pipeline around it


def test_the_policy_says_that_it_does_not_apply(spoken: Spoken, sandbox: LocalSandbox) -> None:
    result = Executor(sandbox, policy=Policy.standard()).execute(spoken.samples.says, language=spoken.name)
    assert result.status is Status.OK, result
    (finding,) = result.violations
    assert (finding.rule, finding.severity, finding.line) == ("language.unread", Severity.WARNING, 0)
    assert languages.get(spoken.name).title in finding.message


def test_strict_refuses_what_it_cannot_read(spoken: Spoken, sandbox: LocalSandbox) -> None:
    result = Executor(sandbox, policy=Policy.strict()).execute(spoken.samples.says, language=spoken.name)
    assert (result.status, result.decided_by, result.stdout) == (Status.REJECTED, "policy", "")


@pytest.mark.parametrize(
    ("code", "rule"),
    [("echo a\0b", "syntax.encoding"), (b"echo \xff", "syntax.encoding"), ("# " + "x" * 600_000, "syntax.too-large")],
)
def test_what_holds_for_any_text_is_checked(sandbox: LocalSandbox, code: str | bytes, rule: str) -> None:
    result = Executor(sandbox).execute(code, language="bash")
    assert (result.status, result.decided_by) == (Status.REJECTED, "syntax")
    assert [finding.rule for finding in result.violations] == [rule]


def test_secrets_are_taken_out_of_every_language(spoken: Spoken, sandbox: LocalSandbox) -> None:
    secret = "AKIA" + "Q3EGRIT7ZLS5XKWB"
    result = Executor(sandbox).execute(
        spoken.samples.context, language=spoken.name, context={"word": secret, "number": 1}
    )
    assert result.status is Status.OK
    assert secret not in result.to_json()
    assert result.redactions


def test_a_language_nobody_knows_is_refused_before_anything_runs(sandbox: LocalSandbox) -> None:
    with pytest.raises(ConfigurationError, match=r"language='cobol' is not known: choose python, .*bash, javascript"):
        Executor(sandbox).execute("DISPLAY 1", language="cobol")


def test_a_language_that_the_host_lacks_says_what_to_install(sandbox: LocalSandbox) -> None:
    languages.register(
        languages.Language(
            name="absent", title="Absent", command=("no-such-program", "{code}"), suffixes=(".no",), version_code=""
        )
    )
    with pytest.raises(SandboxUnavailable, match="no program 'no-such-program', which Absent needs: install it"):
        Executor(sandbox).execute("", language="absent")


def test_level_process_has_python_alone_and_says_so() -> None:
    with (
        LocalSandbox(isolation="process", pool_size=0) as thin,
        pytest.raises(SandboxUnavailable, match="Bash needs level namespace"),
    ):
        Executor(thin).execute("echo", language="bash")


def test_a_closed_sandbox_has_closed_every_language(spoken: Spoken) -> None:
    with LocalSandbox(pool_size=1) as made:
        own = made.for_language(spoken.name)
        assert ask(own, spoken.samples.says).status is Status.OK
        assert made.for_language(spoken.name) is own
    with pytest.raises(ConfigurationError, match="is closed"):
        ask(own, spoken.samples.says)
    with pytest.raises(ConfigurationError, match="is closed"):
        made.for_language(spoken.name)


def test_a_compiler_of_machine_code_costs_the_layer_that_forbids_it(sandbox: LocalSandbox) -> None:
    """What docs/how-to/languages.md does: the layer is off for that language, and the result does not claim it."""
    speaking(sandbox, "javascript")
    slow = languages.JAVASCRIPT
    command = tuple(word for word in slow.command if word not in ("--jitless", "--no-expose-wasm"))
    fast = dataclasses.replace(slow, name="javascript-jit", command=command, executable_memory=True)
    languages.register(fast)
    code = "typeof WebAssembly"
    executor = Executor(sandbox)
    jitless, compiled = (executor.execute(code, language=name) for name in ("javascript", fast.name))
    assert (jitless.value, compiled.value) == ("undefined", "object"), compiled
    assert jitless.sandbox is not None
    assert compiled.sandbox is not None
    assert set(jitless.sandbox.layers) - set(compiled.sandbox.layers) == {"no-executable-memory"}
