"""SECURITY.md's threat table is rendered from the tests and is up to date."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "render_threats.py"
_spec = importlib.util.spec_from_file_location("render_threats", SCRIPT)
assert _spec
assert _spec.loader
render_threats = importlib.util.module_from_spec(_spec)
sys.modules["render_threats"] = render_threats  # a dataclass looks its own module up
_spec.loader.exec_module(render_threats)

SOURCE = '''
import pytest
pytestmark = [pytest.mark.timeout(5), pytest.mark.threat("all.of-them")]

@pytest.mark.threat("fs.passwd", "fs.home")
@pytest.mark.parametrize("path", ["a"])
def test_reads_the_password_file(path):
    """The cell finds a stub | nothing more.

    Details nobody renders.
    """

@pytest.mark.threat("net.tcp")
class TestNetwork:
    async def test_connects_to_loopback(self):
        pass

def helper():
    pass
'''


def test_marks_of_functions_classes_and_modules_are_found() -> None:
    found = {(attack.threat, attack.test) for attack in render_threats.attacks_in(SOURCE, "t.py")}
    assert found == {
        ("fs.passwd", "test_reads_the_password_file"),
        ("fs.home", "test_reads_the_password_file"),
        ("all.of-them", "test_reads_the_password_file"),
        ("net.tcp", "test_connects_to_loopback"),
        ("all.of-them", "test_connects_to_loopback"),
    }


def test_a_row_says_what_the_docstring_or_the_name_says() -> None:
    rendered = render_threats.table(list(render_threats.attacks_in(SOURCE, "tests/t.py")))
    assert (
        "| `fs.passwd` | The cell finds a stub \\| nothing more. | [`test_reads_the_password_file`](tests/t.py) |"
        in rendered
    )
    assert "| `net.tcp` | Connects to loopback. |" in rendered


def test_only_what_is_between_the_markers_changes() -> None:
    text = f"before\n{render_threats.BEGIN}\nold\n{render_threats.END}\nafter\n"
    once = render_threats.updated(text, "new\n")
    assert once == f"before\n{render_threats.BEGIN}\n\nnew\n\n{render_threats.END}\nafter\n"
    assert render_threats.updated(once, "new\n") == once


def test_a_missing_marker_is_an_error() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        render_threats.updated("no markers", "new")


def test_security_md_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
