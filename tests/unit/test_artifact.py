"""Saving an artifact never writes outside the directory that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotcell.results import Artifact


def artifact(name: str) -> Artifact:
    return Artifact(name=name, size=3, sha256="", content=b"new")


def test_an_artifact_is_written_below_the_directory(tmp_path: Path) -> None:
    saved = artifact("a/b/c.txt").save(tmp_path / "out")
    assert saved == tmp_path / "out" / "a" / "b" / "c.txt"
    assert saved.read_bytes() == b"new"


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something longer")
    assert artifact("x").save(tmp_path).read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "", "/", "link/x", "link/new/x"])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "link").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out of"):
        artifact(name).save(out)
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "outside"]


def test_a_link_in_the_files_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x").symlink_to(victim)
    saved = artifact("x").save(out)
    assert victim.read_text() == "precious"
    assert not saved.is_symlink()


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    artifact("x").save(tmp_path / "out")
    assert (tmp_path / "real" / "x").read_bytes() == b"new"
