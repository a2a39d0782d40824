"""The package as a whole: light to import, nothing but the standard library behind it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hotcell

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "hotcell").rglob("*.py"))
DJANGO_APP = ROOT / "src" / "hotcell" / "django"
ITS_OWN = {DJANGO_APP: {"django", "asgiref"}}
"""What a part that is installed as an extra may import on top."""


def imported_packages(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_core_imports_nothing_but_the_standard_library(source: Path) -> None:
    more = {name for part, names in ITS_OWN.items() if source.is_relative_to(part) for name in names}
    assert imported_packages(source) <= {*sys.stdlib_module_names, "hotcell"} | more


def test_only_the_django_app_knows_django() -> None:
    others = [source for source in SOURCES if not source.is_relative_to(DJANGO_APP)]
    assert others
    assert not [source for source in others if imported_packages(source) & {"django", "asgiref"}]


def test_the_distribution_declares_no_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []


def test_importing_hotcell_loads_none_of_its_machinery() -> None:
    code = "import sys, hotcell; print([name for name in sys.modules if name.startswith('hotcell.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        hotcell.nonsense  # noqa: B018 - the access is the test


def test_public_names_are_listed() -> None:
    assert dir(hotcell) == sorted(hotcell.__all__)
