"""MIME types come from the content: whatever a file is called, it is not taken for something more harmless."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import sqlite3
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.validators.media import ACTIVE, PLAIN, UNKNOWN, media_type

OFFICE = "application/vnd.openxmlformats-officedocument."
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def zipped(*names: str, size: int = 1) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * size)
    return stream.getvalue()


def database(path: Path) -> bytes:
    with sqlite3.connect(path / "a.db") as connection:
        connection.execute("create table t (x)")
    connection.close()
    return (path / "a.db").read_bytes()


KINDS = {
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/gif": b"GIF89a\1\0\1\0",
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "image/tiff": b"II*\0\x08\0\0\0",
    "application/pdf": b"%PDF-1.7\n",
    "application/gzip": gzip.compress(b"x"),
    "application/x-xz": lzma.compress(b"x"),
    "application/zip": zipped("a.txt"),
    f"{OFFICE}spreadsheetml.sheet": zipped("[Content_Types].xml", "xl/workbook.xml"),
    f"{OFFICE}wordprocessingml.document": zipped("word/document.xml", "[Content_Types].xml"),
    f"{OFFICE}presentationml.presentation": zipped("[Content_Types].xml", "ppt/presentation.xml"),
    "application/vnd.apache.parquet": b"PAR1" + b"\0" * 20 + b"PAR1",
    "application/x-npy": b"\x93NUMPY\1\0v\0{'descr': '<f8'}",
    "application/json": b'{"a": [1, 2]}\n',
    "text/html": b"<!DOCTYPE html><p>x",
    "image/svg+xml": SVG.encode(),
    "application/xml": b'<?xml version="1.0"?><rss/>',
    "text/csv": b"a,b\n1,2\n",
    "text/plain": "Grüße, Welt".encode(),
    "application/octet-stream": b"\0\1\2\3",
}
NAMES = ["", "a.txt", "a.png", "a.csv", "a.html", "a.json", "a.PDF", "a.xlsx", "no ending"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_is_in_it_whatever_it_is_called(kind: str, name: str) -> None:
    expected = "text/csv" if (kind, name) == ("text/plain", "a.csv") else kind
    assert media_type(KINDS[kind], name) == expected


def test_what_programs_write_is_known(tmp_path: Path) -> None:
    assert media_type(database(tmp_path)) == "application/vnd.sqlite3"
    numpy = pytest.importorskip("numpy")
    stream = io.BytesIO()
    numpy.save(stream, numpy.arange(3))
    assert media_type(stream.getvalue()) == "application/x-npy"
    stream = io.BytesIO()
    numpy.savez(stream, a=numpy.arange(3))
    assert media_type(stream.getvalue()) == "application/zip"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_pictures_that_a_library_writes_are_known(kind: str) -> None:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.new("RGB", (2, 2)).save(stream, kind)
    assert media_type(stream.getvalue()) == f"image/{kind.lower()}"


def test_a_large_workbook_whose_telling_names_come_last_is_known() -> None:
    content = zipped("xl/worksheets/sheet1.xml", "[Content_Types].xml", size=200_000)
    assert media_type(content) == f"{OFFICE}spreadsheetml.sheet"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [[1, "a"], {"a": 1.5}, Path("x")])
def test_a_pickle_is_never_anything_that_may_be_opened(protocol: int, value: object) -> None:
    """The old protocols are text, and only the name warns of them."""
    assert media_type(pickle.dumps(value, protocol), "model.PKL") == UNKNOWN
    if protocol >= 2:
        assert media_type(pickle.dumps(value, protocol), "data.csv") == UNKNOWN


PAGES = [
    SVG,
    f"\ufeff  \n{SVG}",
    f'<?xml version="1.0"?>\n<!-- a --><!-- b -->\n<!DOCTYPE svg PUBLIC "-//W3C" "x">\n{SVG}',
    f"<!DOCTYPE svg [<!ENTITY a 'b'>]>{SVG}",
    f"<!--\n{'x' * 100}\n-->{SVG}",
    f"<?xml-stylesheet href='x'?>{SVG}",
    '<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
    "<SVG onload=alert(1)>",
    "<html>",
    "  <HtMl lang=en>",
    "<script>alert(1)</script>",
    "<!-- hello -->\ntext",
    "<body onload=x>",
    "<iframe/src=x>",
    "<p>hello",
    "<br>",
    "<a href=javascript:x>",
    '<?xml version="1.0"?><x:html xmlns:x="http://www.w3.org/1999/xhtml"><x:script>alert(1)</x:script></x:html>',
    '<?xml version="1.0"?><a><script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script></a>',
    "<?xml version='1.0'?><!DOCTYPE a [" + "<!ENTITY b 'c'>" * 10_000 + "]><svg/>",
    "<!DOCTYPE a [<!ENTITY b ']'>]><svg/>",
    "<?x " + "x" * 100_000 + "?><svg/>",
    "<!--" + "x" * 100_000 + "--><svg/>",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page[:20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.png"])
def test_what_a_browser_could_run_is_called_active(page: str, encoding: str, name: str) -> None:
    assert media_type(page.encode(encoding), name) in ACTIVE


@pytest.mark.parametrize(
    "text",
    [
        "<DataFrame of 3 rows>",
        "<__main__.A object>",
        "< 3",
        "a <b>c</b>",
        "x = '<svg>'",
        "<paragraph>",
        "{not json}",
        "[1, 2",
        "a,b",
        "a,b\n1,2,3\n",
        "\x1b[31mred\x1b[0m",
        "a\tb\r\n\f",
        "[" * 100_000,
    ],
)
def test_other_text_is_plain(text: str) -> None:
    assert media_type(text.encode()) == PLAIN


def test_an_empty_file_is_harmless_text() -> None:
    assert (media_type(b""), media_type(b"", "a.csv")) == (PLAIN, "text/csv")


@pytest.mark.parametrize(
    "content", [b"text\0", b"t" * 100_000 + b"\0", b"\xff\xfe\xff", b"abc\xff", b"a\x07b", b"\x80\4."]
)
def test_what_is_not_surely_text_is_unknown(content: bytes) -> None:
    assert media_type(content, "a.txt") == UNKNOWN


@pytest.mark.parametrize("length", range((1 << 16) - 4, (1 << 16) + 4))
def test_a_character_that_the_sample_cuts_in_two_does_not_spoil_the_text(length: int) -> None:
    assert media_type(("a" * length + "🙂" * 9).encode()) == PLAIN


def test_a_large_json_file_is_judged_by_its_ends() -> None:
    large = json.dumps(["x" * (2 << 20)]).encode()
    assert media_type(large) == "application/json"
    assert media_type(large + b" trailing") == PLAIN


@given(content=st.binary(max_size=300), name=st.text(max_size=9))
def test_any_bytes_have_a_type(content: bytes, name: str) -> None:
    assert "/" in media_type(content, name)


@given(start=st.sampled_from([*KINDS.values()]), rest=st.binary(max_size=60))
def test_any_bytes_after_a_known_beginning_have_one_too(start: bytes, rest: bytes) -> None:
    assert "/" in media_type(start + rest)
