"""What kind of file it is, by what is in it: the name alone never decides, as the code chose it.

    media_type(content, "plot.png")   # "image/png", or what it really is

What is not surely one of the kinds below is ``application/octet-stream``, a pickle among them. What a browser would
take for a page is never called anything more harmless. Reads the first 64 KiB, and of zip files the last.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator

UNKNOWN = "application/octet-stream"
PLAIN = "text/plain"
HTML = "text/html"
SVG = "image/svg+xml"
XML = "application/xml"
ACTIVE = frozenset({HTML, SVG, XML})
"""Kinds that can run scripts where a browser shows them as a page: show them as text, or inside ``<img>``."""

_SAMPLE_BYTES = 1 << 16
_JSON_BYTES = 1 << 20
"""A larger one is judged by its two ends."""
_CSV_ROWS = 20

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
)
_OFFICE = "application/vnd.openxmlformats-officedocument."
_IN_ZIP = (
    (b"xl/", f"{_OFFICE}spreadsheetml.sheet"),
    (b"word/", f"{_OFFICE}wordprocessingml.document"),
    (b"ppt/", f"{_OFFICE}presentationml.presentation"),
)
_BY_NAME = {".csv": "text/csv", ".tsv": "text/tab-separated-values"}
_PICKLES = (".pkl", ".pickle", ".joblib")
# The tags by which a browser knows a page that comes without a type (WHATWG, MIME Sniffing, 7.1).
_PAGE = re.compile(
    r"<!--|<(?:!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)(?=[\s>/])",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[\s\ufeff]*")
_PROLOG = re.compile(r"<\?.*?\?>|<!--.*?-->|<!doctype\b[^\[>]*(?:\[[^\]]*\]\s*)?>", re.IGNORECASE | re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)")
# Tab, line ends and form feed are text, and so is the escape character of coloured output.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def media_type(content: bytes, name: str = "") -> str:
    """The MIME type. ``name`` only tells kinds of harmless text apart, or warns of a pickle."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[:4] == content[-4:] == b"PAR1" and len(content) >= 12:
        return "application/vnd.apache.parquet"
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(content)
    text = _text(content)
    if text is None or name.lower().endswith(_PICKLES):
        return UNKNOWN
    return _markup(text) or _data(content, text, name) or PLAIN


def _zip(content: bytes) -> str:
    names = list(_zip_names(content[-_SAMPLE_BYTES:]))
    if b"[Content_Types].xml" in names:
        for folder, kind in _IN_ZIP:
            if any(name.startswith(folder) for name in names):
                return kind
    return "application/zip"


def _zip_names(tail: bytes) -> Iterator[bytes]:
    """The names in the directory at the end: the telling one may be the last, after a file of any size."""
    place = tail.find(b"PK\x01\x02")
    while place >= 0:
        length = int.from_bytes(tail[place + 28 : place + 30], "little")
        yield tail[place + 46 : place + 46 + length]
        place = tail.find(b"PK\x01\x02", place + 46)


def _text(content: bytes) -> str | None:
    """The beginning as text; None for what is no text. A zero byte anywhere is none."""
    head = content[:_SAMPLE_BYTES]
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            return _decoded(head[2:], encoding)
    if b"\0" in content:
        return None
    return _decoded(head.removeprefix(codecs.BOM_UTF8), "utf-8")


def _decoded(head: bytes, encoding: str) -> str | None:
    try:
        # Not final: the last character may be cut in two.
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < _SAMPLE_BYTES - 3)
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def _markup(text: str) -> str:
    """The kind of a page or of XML; empty for other text."""
    start = _skip_space(text, 0)
    if not text.startswith("<", start):
        return ""
    root = _ROOT.match(text, _after_prolog(text, start))
    if root and root[1].lower() == "svg":
        return SVG
    if _PAGE.match(text, start) or (root and root[1].lower() == "html"):
        return HTML
    return XML if text[start : start + 9].lower().startswith(("<?", "<!doctype")) else ""


def _after_prolog(text: str, place: int) -> int:
    """Where the root element begins: past instructions, comments and a document type."""
    while True:
        place = _skip_space(text, place)
        found = _PROLOG.match(text, place)
        if not found:
            return place
        place = found.end()


def _skip_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _data(content: bytes, text: str, name: str) -> str:
    """The kind of structured text; empty for prose."""
    if text.lstrip()[:1] in ("{", "[") and _is_json(content):
        return "application/json"
    for ending, kind in _BY_NAME.items():
        if name.lower().endswith(ending):
            return kind
    return "text/csv" if _is_csv(text) else ""


def _is_json(content: bytes) -> bool:
    if len(content) > _JSON_BYTES:
        ends = content.lstrip()[:1] + content.rstrip()[-1:]
        return ends in (b"{}", b"[]")
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _is_csv(text: str) -> bool:
    """Rows of as many cells each, two at least, in two rows at least."""
    lines = text.splitlines()[:_CSV_ROWS]
    if len(lines) < 2 or "," not in lines[0]:
        return False
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        return False
    return len({len(row) for row in rows}) == 1
