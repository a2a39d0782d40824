"""A cache in a directory: what is put there comes back whole, and nobody else has put it there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hotcell.cache import Cache
from hotcell.directory_cache import DirectoryCache
from hotcell.errors import ConfigurationError

KEY = "a" * 64


def test_it_is_a_cache_that_outlives_its_object(tmp_path: Path) -> None:
    first = DirectoryCache(tmp_path / "results" / "deep")
    assert isinstance(first, Cache)
    assert first.get(KEY) is None
    first.set(KEY, '{"x": "\u00e9"}')
    assert DirectoryCache(tmp_path / "results" / "deep").get(KEY) == '{"x": "\u00e9"}'


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "results"
    DirectoryCache(place).set(KEY, "x")
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.threat("cache.poison")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "results"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(ConfigurationError, match="others can write"):
        DirectoryCache(place)


def test_a_file_in_its_place_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        DirectoryCache(tmp_path / "results")


def test_what_is_no_text_is_not_there(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path)
    (tmp_path / KEY).write_bytes(b"\xff\xfe")
    assert cache.get(KEY) is None


def test_a_text_is_whole_or_not_there_whoever_writes(tmp_path: Path) -> None:
    cache, texts = DirectoryCache(tmp_path), [letter * 200_000 for letter in "abcd"]
    seen: set[str | None] = set()

    def write(text: str) -> None:
        for _ in range(20):
            cache.set(KEY, text)
            seen.add(cache.get(KEY))

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= {*texts}
    assert os.listdir(tmp_path) == [KEY]


def test_what_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path)
    (tmp_path / KEY).mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # whatever the system says of a directory in the file's place
        cache.set(KEY, "x")
    assert os.listdir(tmp_path) == [KEY]
