"""What a cell shows, made clean: a MIME bundle from a worker is hostile data until it has been through here.

    checked = check_bundle(raw)
    texts, redactions = redactor.redact_value(checked.texts, "display")
    display = checked.display(texts)

What is active is judged last, as taking a secret out of markup changes it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotcell.results import Display
from hotcell.validators.passive import is_passive
from hotcell.validators.text import clean_text

_MOST_PARTS = 8
_MOST_GEOMETRY = 20_000
_MIME = re.compile(r"(?:text|image|application)/[a-z0-9][a-z0-9.+-]{0,79}", re.ASCII)
_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_SVG = "image/svg+xml"
_GEOMETRY = re.compile(r'\b(d|points)="([MLHVCSQTAZmlhvcsqtaze0-9 \t\r\n.,+-]++)"')
_PLACE = re.compile(r'\b(d|points)="#([0-9]{1,9})#"')
_TEXTS = frozenset({_SVG, "application/javascript", "application/xhtml+xml", "application/xml"})


@dataclass(frozen=True, kw_only=True)
class CheckedBundle:
    """A bundle of which every part is what its MIME type says."""

    texts: Mapping[str, Any]
    """The parts that are text or JSON data, cleaned: secrets may be in these. Of an SVG the geometry is elsewhere, as
    among so many numbers some always look like a credit card's."""
    images: Mapping[str, str]
    """The parts that are images, as Base64 text without line ends."""
    geometry: tuple[str, ...] = ()
    """What belongs into the SVG's ``d="#0#"``, ``points="#1#"`` and so on."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    def display(self, texts: Mapping[str, Any] | None = None) -> Display:
        """The display, with ``texts`` in place of its own. Judges what in it is active."""
        data = {**(self.texts if texts is None else texts), **self.images}
        if self.geometry and _SVG in data:
            data[_SVG] = _PLACE.sub(self._put_back, data[_SVG])
        return Display(data=data, active=tuple(mime for mime, part in data.items() if not is_passive(mime, part)))

    def _put_back(self, place: re.Match[str]) -> str:
        number = int(place[2])
        return f'{place[1]}="{self.geometry[number]}"' if number < len(self.geometry) else place[0]


def check_bundle(raw: Any) -> CheckedBundle:
    """Keep of a decoded JSON value what is a MIME bundle. Never raises; without a good part the bundle is empty."""
    texts: dict[str, Any] = {}
    images: dict[str, str] = {}
    notes: list[str] = []
    items = raw.items() if isinstance(raw, dict) else ()
    for name, part in items:
        mime = name.lower() if len(name) <= 100 else ""
        if not _MIME.fullmatch(mime):
            notes.append("A part of a display was left out: its name is no MIME type of text, an image or data.")
        elif mime in texts or mime in images or len(texts) + len(images) == _MOST_PARTS:
            notes.append(f"A display's {mime} was left out: it is there already, or one of more than {_MOST_PARTS}.")
        elif mime in _SIGNATURES:
            image = _image(mime, part)
            if image:
                images[mime] = image
            else:
                notes.append(f"A display's {mime} was left out: it is not Base64 text of such an image.")
        elif _is_json(mime) or (isinstance(part, str) and (mime.startswith("text/") or mime in _TEXTS)):
            texts[mime] = clean_value(part)
        else:
            notes.append(f"A display's {mime} was left out: it is not text, data or an image of a known kind.")
    geometry: list[str] = []
    if _SVG in texts:
        texts[_SVG], geometry = _without_geometry(texts[_SVG])
    return CheckedBundle(
        texts=texts, images=images, geometry=tuple(geometry), notes=tuple(dict.fromkeys(notes[:_MOST_PARTS]))
    )


def clean_value(value: Any) -> Any:
    """JSON data with each of its strings and keys through ``clean_text``. It must not be too deep to recurse into."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_value(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): clean_value(item) for key, item in value.items()}
    return value


def _without_geometry(text: str) -> tuple[str, list[str]]:
    geometry: list[str] = []

    def take(match: re.Match[str]) -> str:
        geometry.append(match[2])
        return f'{match[1]}="#{len(geometry) - 1}#"'

    return _GEOMETRY.sub(take, text, count=_MOST_GEOMETRY), geometry


def _is_json(mime: str) -> bool:
    return mime.startswith("application/") and mime.endswith(("/json", "+json", ".json"))


def _image(mime: str, part: Any) -> str:
    """Its Base64 text as others write it, or nothing."""
    if not isinstance(part, str) or not part.isascii():
        return ""
    try:
        content = binascii.a2b_base64("".join(part.split()), strict_mode=True)
    except ValueError:
        return ""
    return binascii.b2a_base64(content, newline=False).decode() if _SIGNATURES[mime].match(content) else ""
