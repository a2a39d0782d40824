"""The reference names all there is: fields, statuses, limits, exceptions, options, exit codes. Links lead somewhere."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcell import cli, config, errors, events, languages, results
from hotcell.sandboxes.local import doctor, layers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


RESULT_TYPES = [
    results.ExecutionResult,
    results.ErrorInfo,
    results.Display,
    results.ToolCall,
    results.Violation,
    results.Redaction,
    results.Artifact,
    results.Usage,
    results.Timings,
    results.SandboxInfo,
    results.CheckReport,
    doctor.Report,
    doctor.LayerReport,
    doctor.LanguageReport,
]
RESULT_FIELDS = [(kind.__name__, field.name) for kind in RESULT_TYPES for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(("kind", "field"), RESULT_FIELDS)
def test_every_field_of_a_result_is_documented(kind: str, field: str) -> None:
    assert f"`{field}`" in page("result.md")


EVENTS = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, events.Event)]


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind is not events.Event])
def test_every_event_is_documented_with_its_fields_and_no_others(kind: type[events.Event]) -> None:
    assert f"| `{kind.__name__}` | `{kind.kind}` |" in page("events.md")
    (section,) = re.findall(rf"^## {kind.__name__}\n(.*?)(?=^## |\Z)", page("events.md"), re.MULTILINE | re.DOTALL)
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(kind)]


REASONS = re.findall(r"``(\w+)``", inspect.getsource(errors.SessionLost))


def test_every_reason_for_losing_a_session_is_documented() -> None:
    section = page("errors.md").partition("## Why a session is lost")[2]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(["reason", *REASONS])
    source = "".join(path.read_text() for path in (ROOT / "src" / "hotcell").rglob("*.py"))
    assert all(f'"{reason}"' in source for reason in REASONS)


def test_every_key_of_the_json_is_documented() -> None:
    empty = results.ExecutionResult(status=results.Status.OK, reason="", decided_by="code")
    report = results.CheckReport(violations=(), code_sha256="", policy="")
    for key in [*empty.to_dict(), *report.to_dict()]:
        assert f"`{key}`" in page("result.md")


@pytest.mark.parametrize("word", [*results.Status, *results.IsolationLevel, *results.Severity])
def test_every_status_level_and_severity_is_documented(word: str) -> None:
    assert f"`{word}`" in page("result.md")


@pytest.mark.parametrize("field", dataclasses.fields(config.SandboxConfig), ids=lambda field: field.name)
def test_every_limit_is_documented(field: dataclasses.Field[object]) -> None:
    assert f"| `{field.name}` |" in page("config.md")


@pytest.mark.parametrize("layer", layers.LAYERS, ids=lambda layer: layer.id)
def test_every_layer_is_documented(layer: layers.Layer) -> None:
    assert f"| `{layer.id}` | {layer.title} | {layer.stops} | " in page("layers.md")


@pytest.mark.parametrize("field", dataclasses.fields(languages.Language), ids=lambda field: field.name)
def test_every_field_of_a_language_is_documented(field: dataclasses.Field[object]) -> None:
    assert f"| `{field.name}` |" in page("languages.md")


@pytest.mark.parametrize("language", [languages.BASH, languages.JAVASCRIPT], ids=lambda language: language.name)
def test_every_language_and_its_suffixes_are_documented(language: languages.Language) -> None:
    suffixes = ", ".join(f"`{suffix}`" for suffix in language.suffixes)
    assert f"| `{language.name}` | {language.title} | {suffixes} |" in page("languages.md")


EXCEPTIONS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_is_documented(kind: type[Exception]) -> None:
    assert f"{kind.__name__} " in page("errors.md") or f"{kind.__name__}\n" in page("errors.md")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


OPTIONS = [
    (parser.prog, option)
    for parser in parsers(cli._parser())
    for action in parser._actions
    for option in action.option_strings
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_documented_under_its_command(command: str, option: str) -> None:
    sections = re.split(r"^## ", page("cli.md"), flags=re.MULTILINE)
    if option in ("-h", "--help", "--version"):
        assert f"`{option}`" in page("cli.md") or f"hotcell {option}`" in page("cli.md")
        return
    (section,) = [text for text in sections if text.startswith(command)]
    assert f"`{option}" in section


@pytest.mark.parametrize("code", cli.Exit, ids=lambda code: code.name)
def test_every_exit_code_is_documented(code: cli.Exit) -> None:
    assert re.search(rf"^\| {int(code)} \| ", page("cli.md"), re.MULTILINE)
    assert re.search(rf"^  {int(code)} +\S", cli.EPILOG, re.MULTILINE)


def anchors(markdown: str) -> set[str]:
    """The anchors that a forge makes of headings."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(source: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", source.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (source.parent / file).resolve() if file else source
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text()), target
