"""What a language needs of the host is found on the PATH, and shown one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotcell.errors import SandboxUnavailable
from hotcell.languages import Language
from hotcell.sandboxes.local import toolbox

LANGUAGE = Language(
    name="tooled",
    title="Tooled",
    command=("speak", "{code}"),
    check=("check", "{code}"),
    suffixes=(".t",),
    version_code="",
    tools=("aid", "absent"),
    paths=("/", "/no/such/place"),
    environment={"A": "{prelude}"},
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one directory behind a link, as /bin is on most hosts, with a tool that is a link itself."""
    real = tmp_path / "usr" / "bin"
    real.mkdir(parents=True)
    (tmp_path / "bin").symlink_to(real)
    (tmp_path / "alternatives").mkdir()
    for path in (real / "speak", real / "check", tmp_path / "alternatives" / "aid"):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (real / "aid").symlink_to(tmp_path / "alternatives" / "aid")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_programs_are_named_by_a_path_without_links_on_the_way(host: Path) -> None:
    """A link on the way would bring all that is in the directory it leads to."""
    found = toolbox.find(LANGUAGE)
    assert found.program == f"{host}/usr/bin/speak"
    assert found.programs == {
        f"{host}/usr/bin/aid": f"{host}/alternatives/aid",
        f"{host}/usr/bin/check": f"{host}/usr/bin/check",
        f"{host}/usr/bin/speak": f"{host}/usr/bin/speak",
    }


def test_what_the_worker_is_told_is_json_with_places_for_names(host: Path) -> None:
    spec = json.loads(json.dumps(toolbox.find(LANGUAGE).spec))
    assert spec["command"] == [f"{host}/usr/bin/speak", "{code}"]
    assert spec["check"] == [f"{host}/usr/bin/check", "{code}"]
    assert spec["environment"] == {"PATH": f"{host}/usr/bin:/usr/bin:/bin", "A": "{prelude}"}


def test_what_the_host_lacks_is_left_out_but_for_the_interpreter(host: Path) -> None:
    assert toolbox.find(LANGUAGE).paths == ("/",)
    (host / "usr/bin/speak").unlink()
    with pytest.raises(SandboxUnavailable, match="no program 'speak', which Tooled needs: install it"):
        toolbox.find(LANGUAGE)
