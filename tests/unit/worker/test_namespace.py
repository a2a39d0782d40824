"""The cell's own frames see curated builtins and a guarded import; libraries see the real ones."""

from __future__ import annotations

import pytest


def test_a_denied_builtin_says_so(cell):
    ran = cell("open('x')", builtins_denied=["open"])
    assert (ran.error["type"], ran.error["message"]) == (
        "PermissionError",
        "open() is not available here: the test policy denies it.",
    )
    assert "namespace.py" not in ran.error["traceback"]


def test_libraries_keep_the_builtins_that_are_denied_to_the_cell(cell):
    ran = cell("import tokenize\nlen(tokenize.open(tokenize.__file__).read()) > 0", builtins_denied=["open"])
    assert ran.report["value"] is True


def test_code_in_strings_is_denied_what_the_cell_is_denied(cell):
    assert cell("exec('open(1)', {})", builtins_denied=["open"]).error["type"] == "PermissionError"


@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "import socket as s",
        "from socket import socket",
        "import email.mime.text",
        "__import__('socket')",
    ],
)
def test_a_denied_module_cannot_be_imported(cell, text: str):
    error = cell(text, imports_denied=["socket", "email.mime"]).error
    assert error["type"] == "ImportError"
    assert "not allowed by the test policy" in error["message"]


def test_a_denied_submodule_cannot_be_taken_from_its_package(cell):
    assert cell("from email import mime", imports_denied=["email.mime"]).error["type"] == "ImportError"
    assert cell("from email import message", imports_denied=["email.mime"]).report["outcome"] == "ok"


def test_a_name_that_only_begins_like_a_denied_one_is_fine(cell):
    assert cell("import socketserver", imports_denied=["socket"]).report["outcome"] == "ok"


def test_libraries_import_what_is_denied_to_the_cell(cell):
    assert cell("import urllib.request", imports_denied=["socket", "http"]).report["outcome"] == "ok"


def test_an_allow_list_says_what_is_allowed(cell):
    error = cell("import os", imports_allowed=["math", "json"]).error
    assert error["message"].endswith("Allowed modules: json, math.")


def test_an_empty_allow_list_allows_nothing(cell):
    assert cell("import math", imports_allowed=[]).error["type"] == "ImportError"


def test_an_allowed_module_brings_its_submodules(cell):
    assert (
        cell("import json.decoder\njson.decoder.__name__", imports_allowed=["json"]).report["value"] == "json.decoder"
    )


def test_what_is_denied_wins(cell):
    rules = {"imports_allowed": ["email"], "imports_denied": ["email.mime"]}
    assert cell("import email.mime.text", **rules).error["type"] == "ImportError"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("import os.path\nos.path.join('a', 'b')", "a/b"),
        ("import os.path as p\np.join('a', 'b')", "a/b"),
        ("from os import path\npath.join('a', 'b')", "a/b"),
        ("from os.path import join\njoin('a', 'b')", "a/b"),
        ("import os.path\nhasattr(os, 'system')", False),
        ("hasattr(__import__('os', None, None, ['path']), 'system')", False),
        ("import xml.etree.ElementTree\nimport os.path\nxml.etree.ElementTree.__name__", "xml.etree.ElementTree"),
        ("import xml.etree.ElementTree\nimport xml.dom.minidom\nxml.etree.__name__", "xml.etree"),
    ],
)
def test_an_allowed_submodule_does_not_bring_its_package(cell, text: str, value: object):
    assert cell(text, imports_allowed=["os.path", "xml.etree", "xml.dom"]).report["value"] == value


@pytest.mark.parametrize("text", ["from os import *", "from os import path, system", "import os", "from . import x"])
def test_the_package_of_an_allowed_submodule_stays_closed(cell, text: str):
    assert cell(text, imports_allowed=["os.path"]).error["type"] == "ImportError"


def test_a_str_that_lies_about_itself_is_no_module_name(cell):
    liar = "class S(str):\n    def __hash__(self): return hash('math')\n    def __eq__(self, o): return True\n"
    text = liar + "__import__(S('os'))"
    assert cell(text, imports_allowed=["math"]).error["type"] == "TypeError"


def test_an_import_that_fails_by_itself_is_told_as_python_tells_it(cell):
    error = cell(
        "try:\n    import nothing_of_this_name\nexcept ModuleNotFoundError as e:\n    raise", imports_denied=["os"]
    ).error
    assert (error["type"], error["line"]) == ("ModuleNotFoundError", 2)


def test_the_guard_cannot_be_denied_away(cell):
    assert cell("import math\nmath.floor(1.5)", builtins_denied=["__import__"]).report["value"] == 1
