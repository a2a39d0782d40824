"""The page that a person reads: the verdict on top, findings as a compiler prints them, nothing that can be forged."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotcell.report import answer, check_page, doctor_page, page, verdict, violations
from hotcell.results import (
    Artifact,
    CheckReport,
    Display,
    ErrorInfo,
    ExecutionResult,
    IsolationLevel,
    Redaction,
    SandboxInfo,
    Severity,
    Status,
    ToolCall,
    Usage,
    Violation,
)
from hotcell.sandboxes.local.doctor import LanguageReport, LayerReport, Report
from hotcell.terminal import Style

SANDBOX = SandboxInfo(name="local", isolation=IsolationLevel.NAMESPACE, layers=("namespace.user", "seccomp"))
FINDING = Violation(
    rule="import.denied",
    severity=Severity.ERROR,
    line=12,
    column=5,
    message="The module 'socket' may not be imported.",
    fix="Leave it out: there is no network.",
    source_line="    import socket",
)


def result(**changes: object) -> ExecutionResult:
    facts = {"status": Status.OK, "reason": "The code ran to its end.", "decided_by": "code", "sandbox": SANDBOX}
    return ExecutionResult(**{**facts, **changes})


def test_the_verdict_says_what_happened_what_it_cost_and_what_stood_around_it() -> None:
    usage = Usage(wall_seconds=0.0123, cpu_seconds=0.01, peak_memory_bytes=3 << 20)
    shown = verdict(result(usage=usage))
    for fact in ("━━ OK ", "ran to its end", "12.3 ms", "10.0 ms", "3.0 MiB", "namespace", "local", "seccomp", "code"):
        assert fact in shown


def test_the_verdict_of_refused_code_says_that_nothing_ran() -> None:
    shown = verdict(result(status=Status.REJECTED, decided_by="policy"))
    assert "REJECTED" in shown
    assert "nothing ran" in shown
    assert "policy" in shown
    assert "isolation" not in shown


@pytest.mark.parametrize(
    ("status", "colour"), [(Status.OK, "32"), (Status.TIMEOUT, "31"), (Status.REJECTED, "31"), (Status.CANCELLED, "33")]
)
def test_the_status_has_its_colour(status: Status, colour: str) -> None:
    assert verdict(result(status=status), style=Style(True)).startswith(f"\x1b[1;{colour}m")


def test_no_line_of_the_bar_is_wider_than_eighty_columns() -> None:
    layers = SandboxInfo(
        name="local", isolation=IsolationLevel.NAMESPACE, layers=tuple(f"layer-{n}" for n in range(40))
    )
    assert max(map(len, verdict(result(sandbox=layers)).split("\n"))) <= 80


def test_a_finding_reads_like_a_compiler_error() -> None:
    assert violations([FINDING], filename="job.py") == "\n".join(
        [
            "error[import.denied]: The module 'socket' may not be imported.",
            "   --> job.py:12:5",
            " 12 │     import socket",
            "    │     ^",
            "    fix: Leave it out: there is no network.",
        ]
    )


@pytest.mark.parametrize(("line", "column", "caret_at"), [("日本 = x", 6, 7), ("\tx", 2, 1), ("a\x1bb", 3, 5)])
def test_the_caret_stands_below_the_character(line: str, column: int, caret_at: int) -> None:
    finding = Violation(rule="r", severity=Severity.WARNING, line=1, column=column, message="m", source_line=line)
    caret = violations([finding]).split("\n")[3]
    assert caret.partition("│ ")[2] == " " * caret_at + "^"


def test_a_finding_about_the_whole_source_has_no_place() -> None:
    finding = Violation(rule="syntax.size", severity=Severity.ERROR, line=0, column=0, message="Too large.")
    assert violations([finding]) == "error[syntax.size]: Too large."


def test_a_column_beyond_a_shortened_line_has_no_caret() -> None:
    finding = Violation(rule="r", severity=Severity.ERROR, line=1, column=900, message="m", source_line="x = …")
    assert "^" not in violations([finding])


def test_output_cannot_forge_a_verdict_or_move_the_cursor() -> None:
    forged = verdict(result())
    shown = page(result(status=Status.KILLED, stdout=f"\x1b[2J{forged}", stderr="\x9b2J", value_repr="\x1b]0;x\x07"))
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert sum(line.startswith("━━ ") for line in shown.split("\n")) == 1


def test_every_text_of_the_result_is_cleaned() -> None:
    evil = "\x1b[31m\r\u202e"
    finding = Violation(
        rule=evil, severity=Severity.ERROR, line=1, column=1, message=evil, fix=evil, source_line="x" + evil
    )
    shown = page(
        result(
            status=Status.ERROR,
            reason=evil,
            stdout=evil,
            stderr=evil,
            value_repr=evil,
            error=ErrorInfo(type=evil, message=evil),
            violations=(finding,),
            redactions=(Redaction(kind=evil, where=evil),),
            artifacts=(Artifact(name=evil, size=1, sha256="0" * 64),),
            displays=(Display(data={evil: evil}, active=(evil,)),),
            tool_calls=(ToolCall(number=1, name=evil, arguments={}, outcome="error", error=evil),),
            notes=(evil,),
        ),
        filename=evil,
        language=evil,
    )
    assert not {"\x1b", "\r", "\u202e"} & set(shown)


def test_streams_value_error_and_remarks_are_all_shown() -> None:
    shown = page(
        result(
            status=Status.ERROR,
            stdout="to stdout",
            stderr="to stderr",
            value_repr="[1, 2]",
            error=ErrorInfo(type="ValueError", message="no", traceback="Traceback ...\nValueError: no"),
            redactions=(Redaction(kind="aws-access-key", where="stdout", count=2),),
            artifacts=(Artifact(name="plot.png", size=2048, sha256="ab" * 32),),
            notes=("stdout was cut",),
        ),
        saved=[Path("out/plot.png")],
    )
    for text in ("  │ to stdout", "  │ to stderr", "  │ [1, 2]", "  │ ValueError: no", "stdout was cut"):
        assert text in shown
    assert "2 × aws-access-key in stdout" in shown
    assert "plot.png  2.0 KiB  sha256 abababababab… -> out/plot.png" in shown


def test_an_error_without_traceback_still_shows_its_message() -> None:
    assert "  │ KeyError: 'x'" in page(result(error=ErrorInfo(type="KeyError", message="'x'")))


def test_a_list_of_records_is_shown_as_a_table() -> None:
    shown = page(result(value=[{"city": "Oslo", "n": 1}], value_repr="[{'city': 'Oslo', 'n': 1}]"))
    assert "  │ city  n" in shown
    assert "{'city'" not in shown


SHOWN = Display(
    data={"text/plain": "é", "image/png": "QUJDRA==", "text/html": "<script>" * 200, "application/json": [1, 2]},
    active=("text/html",),
)


def test_a_display_is_named_by_its_forms_their_sizes_and_what_is_active() -> None:
    shown = page(result(displays=(SHOWN, SHOWN)), drawn=[(), (Path("out/display-2.png"), Path("out/display-2.html"))])
    assert shown.endswith(
        "display   text/plain 2 B, image/png 4 B, text/html 1.6 KiB (active),\n"
        "          application/json 6 B\n"
        "display   text/plain 2 B, image/png 4 B, text/html 1.6 KiB (active),\n"
        "          application/json 6 B\n"
        "          -> out/display-2.png\n"
        "          -> out/display-2.html"
    )


def test_tool_calls_are_a_table_with_errors_only_where_there_are_any() -> None:
    calls = (
        ToolCall(number=1, name="search", arguments={}, outcome="ok", seconds=0.25),
        ToolCall(number=2, name="\x1b", arguments={}, outcome="refused", error="TypeError: q\nis missing"),
    )
    shown = page(result(tool_calls=calls[:1]))
    assert shown.endswith(
        "tool calls\n  │ number  name    outcome  seconds\n  │ ──────  ──────  ───────  ───────\n"
        "  │      1  search  ok          0.25"
    )
    assert "  │      2  \\x1b    refused     0.00  TypeError: q\\nis missing" in page(result(tool_calls=calls))


def test_what_was_told_while_it_happened_is_not_told_again() -> None:
    call = ToolCall(number=1, name="search", arguments={}, outcome="ok")
    whole = result(stdout="out", stderr="err", value_repr="42", displays=(SHOWN, SHOWN), tool_calls=(call,))
    shown = page(whole, told=True, drawn=[(), (Path("out/display-2.png"),)])
    assert not [word for word in ("stdout", "stderr", "tool calls") if word in shown]
    assert "value\n  │ 42" in shown
    assert shown.count("display   ") == 1
    assert shown.endswith("-> out/display-2.png")


def test_the_language_is_said_where_it_is_not_python() -> None:
    assert "   language     bash" in page(result(), language="bash")
    assert "language" not in page(result(), language="python")


FAILED_CELL = ErrorInfo(type="KeyError", message="'x'", line=2, cell=3, traceback="Cell 3, line 2\nKeyError: 'x'")


def test_an_error_in_a_session_names_cell_and_line() -> None:
    assert "error in Cell 3, line 2\n  │ Cell 3, line 2\n" in page(result(error=FAILED_CELL))


def test_a_cells_answer_is_its_value_and_nothing_else() -> None:
    assert answer(result(), number=3) == ""
    assert answer(result(value_repr="42"), number=3) == "Out [3]\n  │ 42"


def test_the_answer_of_a_cell_that_failed_ends_with_its_status() -> None:
    failed = result(status=Status.MEMORY_LIMIT, reason="too \x1b much", error=FAILED_CELL, notes=("a note",))
    lines = answer(failed, number=4).split("\n")
    assert lines[0] == "error in Cell 3, line 2"
    assert lines[-2:] == ["note      a note", "━━ MEMORY LIMIT Cell 4: too \\x1b much"]


def test_the_check_page_ends_with_the_answer() -> None:
    report = CheckReport(violations=(FINDING,), code_sha256="", policy="standard", policy_seconds=0.001)
    assert check_page(report).endswith("rejected by policy standard: 1 error, 0 warnings (1.0 ms)")
    clean = CheckReport(violations=(), code_sha256="", policy="standard")
    assert check_page(clean) == "accepted by policy standard: 0 errors, 0 warnings (0.0 ms)"


def test_the_doctor_page_says_of_a_missing_layer_how_to_get_it() -> None:
    layers = (
        LayerReport(id="seccomp", title="Seccomp", stops="System calls.", on=True, detail="x86-64", remedy=""),
        LayerReport(id="landlock", title="Landlock", stops="Files.", on=False, detail="", remedy="Linux 5.13."),
    )
    off = {"on": False, "version": "", "missing": ()}
    languages = (
        LanguageReport(
            name="fast", title="Fast", on=True, version="v1\x1b", path="/bin/f", problem="", missing=("landlock",)
        ),
        LanguageReport(name="absent", title="Absent", path="", problem="This host has no program 'a'.", **off),
    )
    report = Report(
        level=IsolationLevel.PROCESS,
        problem="No \x1b namespaces.",
        layers=layers,
        languages=languages,
        kernel="6.1",
        python="3.13.0",
        user=0,
    )
    assert doctor_page(report).split("\n") == [
        "isolation level here: process",
        "   No \\x1b namespaces.",
        "1 of 2 layers on   kernel 6.1   Python 3.13.0",
        "",
        " on  Seccomp  (seccomp)",
        "     stops   System calls.",
        "     here    x86-64",
        "off  Landlock  (landlock)",
        "     stops   Files.",
        "     get it  Linux 5.13.",
        "",
        "languages",
        " on  Fast v1\\x1b  (/bin/f)",
        "     without landlock",
        "off  Absent",
        "     why     This host has no program 'a'.",
    ]
