"""What may be asked for: names and wheels. What a tool would take for an option or would build is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotcell.building.requirements import check_requirement, name_of, read_requirements
from hotcell.errors import ConfigurationError


@pytest.mark.parametrize(
    "text",
    [
        "numpy",
        "numpy>=2",
        "numpy >= 2, < 3",
        "numpy~=2.1",
        "numpy (>=2)",
        "torch==2.4.1+cpu",
        "pandas[excel,parquet]>=2",
        "ruamel.yaml",
        'tomli; python_version < "3.11"',
        "numpy==2.* ; sys_platform == 'linux' and (python_version >= '3.11')",
        "six==1.17.0 --hash=sha256:4721f391 --hash=sha256:ff70335d",
        "six @ https://files.example/six-1.17.0-py2.py3-none-any.whl",
        "six@https://files.example/six-1.17.0-py2.py3-none-any.whl#sha256=4721f391",
        "https://files.example/six-1.17.0-py2.py3-none-any.whl",
    ],
)
def test_names_and_wheels_are_taken(text: str) -> None:
    assert check_requirement(text, allow_source=False) == text


@pytest.mark.parametrize(
    "text",
    [
        "--index-url=https://evil.example",
        "-e .",
        "-r other.txt",
        "--no-binary :all:",
        "six --no-binary :all:",
        "six --global-option=x",
        "six --config-settings=x=y",
        "six --hash=sha256:00 --no-binary=six",
        ".",
        "./project",
        "/tmp",
        "project/",
        "git+https://example.com/six.git",
        "six @ git+https://example.com/six.git",
        "git+https://example.com/x.whl",
        "six @ file:///tmp/six-1.tar.gz",
        "six-1.17.0.tar.gz",
        "six.zip",
        "https://files.example/six.tar.gz#egg=x.whl",
        "six @ file:///project",
        "six\nflask",
        "six\0",
        "six $(id)",
        "six # comment",
        "",
        "  ",
        "@",
        "six @",
        None,
        7,
    ],
)
def test_options_sources_and_nonsense_are_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match="packages: "):
        check_requirement(text, allow_source=False)


def test_a_source_archive_needs_to_be_allowed_and_a_directory_never_is(tmp_path: Path) -> None:
    archive = tmp_path / "six-1.tar.gz"
    archive.touch()
    assert check_requirement(str(archive), allow_source=True) == str(archive)
    for text in (str(archive), f"six @ {archive.as_uri()}"):
        with pytest.raises(ConfigurationError):
            check_requirement(text, allow_source=False)
    for text in (str(tmp_path), "git+https://example.com/six.git", "-e ."):
        with pytest.raises(ConfigurationError):
            check_requirement(text, allow_source=True)


def test_a_wheel_beside_the_caller_is_found_wherever_the_tool_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wheel = tmp_path / "six-1-py3-none-any.whl"
    wheel.touch()
    assert check_requirement(wheel.name, allow_source=False) == str(wheel)
    assert check_requirement(f"six @ ./{wheel.name}", allow_source=False) == f"six @ {wheel.as_uri()}"
    with pytest.raises(ConfigurationError, match="there is no file"):
        check_requirement("./other-1-py3-none-any.whl", allow_source=False)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NumPy>=2", "numpy"),
        ("ruamel.yaml[x] ; python_version > '3'", "ruamel-yaml"),
        ("Typing_Extensions == 4", "typing-extensions"),
        ("six @ https://files.example/other-1.whl", "six"),
        ("/tmp/zope.interface-6.0-py3-none-any.whl", "zope-interface"),
        ("https://files.example/my_pack-6.0-py3-none-any.whl", "my-pack"),
    ],
)
def test_the_package_that_is_meant(text: str, name: str) -> None:
    assert name_of(text) == name


def test_a_file_of_requirements_is_read_past_comments_and_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# all we need\nsix>=1  # old\n\n  flask==3 \\\n    --hash=sha256:00\r\n")
    lines = read_requirements(file)
    assert [check_requirement(line, allow_source=False) for line in lines] == ["six>=1", "flask==3 --hash=sha256:00"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "requirements.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"requirements: cannot read .*requirements\.txt"):
        read_requirements(file)
