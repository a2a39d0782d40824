"""What a caller hands in is refused by name before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.inputs import check_artifacts, check_context, check_files

CONFIG = SandboxConfig()


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("context", "names"),
    [
        ({"a b": 1}, "'a b'"),
        ({"class": 1}, "'class'"),
        ({"__builtins__": 1}, "'__builtins__'"),
        ({1: 1}, "1 is not a variable name"),
        ({"x": {"rows": [1, {2}]}}, r"context\['x'\]\['rows'\]\[1\] is a set"),
        ({"x": {1: 2}}, r"context\['x'\] has the key 1"),
        ({"x": [float("nan")]}, r"context\['x'\]\[0\] is nan"),
        ({"x": 10**5000}, "4300 digits"),
        ({"x": b"bytes"}, "is a bytes"),
        ({"x": deep(60)}, "50 deep"),
        ({"x": "y" * (65 << 20)}, "64 MiB"),
        ([("x", 1)], "must be a dict"),
    ],
)
def test_a_bad_context_is_refused_by_its_path(context: object, names: str):
    with pytest.raises(ConfigurationError, match=names):
        check_context(context, SandboxConfig())


def test_a_cyclic_context_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ConfigurationError, match="50 deep"):
        check_context({"x": loop}, SandboxConfig())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_json_data_is_accepted_as_it_is(value: object):
    assert check_context({"x": value}, SandboxConfig()) == {"x": value}
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        ".",
        "a\\b",
        "a\0b",
        "a\nb",
        "\udc80",
        "x" * 300,
        3,
        "a/" * 600 + "b",
    ],
)
def test_an_unsafe_file_name_is_refused(name: object):
    with pytest.raises(ConfigurationError, match="not allowed as a name"):
        check_files({name: b""}, CONFIG)


def test_a_safe_file_is_accepted(tmp_path: Path):
    source = tmp_path / "data.csv"
    source.write_bytes(b"a,b")
    files = {"in/data.csv": source, "notes.txt": bytearray(b"x"), "-rf": b"", "d\u00e9j\u00e0 vu.txt": b""}
    assert check_files(files, CONFIG) == {**files, "notes.txt": b"x"}


def test_text_is_not_taken_for_a_path_or_for_content():
    with pytest.raises(ConfigurationError, match=r"content as bytes"):
        check_files({"a": "text"}, CONFIG)


def test_a_missing_or_special_file_is_refused(tmp_path: Path):
    for place in (tmp_path / "missing", tmp_path, Path("/dev/null")):
        with pytest.raises(ConfigurationError, match=r"files\['a'\]"):
            check_files({"a": place}, CONFIG)


def test_files_larger_than_the_disk_are_refused(tmp_path: Path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(ConfigurationError, match="disk_bytes"):
        check_files({"a": big}, CONFIG.replace(disk_bytes=1 << 20))


def test_more_files_than_allowed_are_refused():
    with pytest.raises(ConfigurationError, match="disk_files"):
        check_files({str(number): b"" for number in range(17)}, CONFIG.replace(disk_files=16))


def test_a_name_that_is_both_file_and_folder_is_refused():
    with pytest.raises(ConfigurationError, match="folder"):
        check_files({"a": b"", "a/b/c": b""}, CONFIG)


@pytest.mark.parametrize("patterns", ["*.png", [""], ["/etc/*"], ["../*"], ["a/../b"], ["a\0"], [3]])
def test_a_bad_artifact_glob_is_refused(patterns: object):
    with pytest.raises(ConfigurationError, match="artifacts"):
        check_artifacts(patterns)


def test_good_globs_are_kept():
    assert check_artifacts(["*.png", "out/**/*.csv"]) == ("*.png", "out/**/*.csv")
