"""A MIME bundle from a cell is hostile: what comes out is what it says it is, and passive only when that is proven."""

from __future__ import annotations

import base64
import html.parser
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.validators.displays import check_bundle
from hotcell.validators.output import Redactor
from hotcell.validators.passive import is_passive

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(50)).decode()
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" viewBox="0 0 9 9">'


PIECES = """<b>|</b>|<p>|</p>|<br>|<table>|<tr>|<td>|</td>|</tr>|</table>|<script>|<script|</script>|<b title="|">|<!--|
-->|<!-->|on=x|<|>|/|"|'|=|&|x|<![CDATA[|]]>|<?|<p/>| |<b title="x">|<!-- x -->""".split("|")


class Seen(html.parser.HTMLParser):
    """Python's own parser, which has an opinion of its own on what is a tag."""

    def __init__(self):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_decl(self, decl: str) -> None:
        self.tags.add(decl)

    handle_pi = unknown_decl = handle_decl


def active(html: str) -> bool:
    return not is_passive("text/html", html)


def active_svg(inside: str) -> bool:
    return not is_passive("image/svg+xml", f"{SVG}{inside}</svg>")


class TestParts:
    def test_an_honest_bundle_comes_through(self):
        raw = {"text/plain": "x", "text/html": "<b>x</b>", "application/json": {"a": [1, None]}, "image/png": PNG}
        display = check_bundle(raw).display()
        assert display.to_dict() == {"data": raw, "active": []}

    @pytest.mark.parametrize("raw", [None, 1, "text", [], {}, [["text/plain", "x"]], True])
    def test_what_is_no_bundle_is_empty(self, raw: Any):
        assert check_bundle(raw).display().data == {}

    @pytest.mark.parametrize(
        "name",
        """text|text/|/plain|text/plain; charset=x|text/pl\x00ain|text/../x|video/mp4|multipart/mixed|text/<script>|
        constructor|__proto__|text//x|\uff54ext/plain|""".split("|"),
    )
    def test_a_name_that_is_no_known_kind_is_dropped_and_not_repeated(self, name: str):
        checked = check_bundle({name: "x", "text/plain": "y"})
        assert dict(checked.display().data) == {"text/plain": "y"}
        [note] = checked.notes
        assert "script" not in note

    @pytest.mark.parametrize(
        ("mime", "part"),
        [
            ("text/html", 1),
            ("text/html", ["<b>", "</b>"]),
            ("text/html", {"a": "b"}),
            ("text/plain", None),
            ("image/svg+xml", {"svg": 1}),
            ("application/octet-stream", "x"),
            ("application/pdf", "JVBERi0="),
            ("image/bmp", PNG),
            ("image/png", 5),
            ("image/png", ""),
            ("image/png", "not Base64"),
            ("image/png", PNG[:-1] + "\u00e9"),
            ("image/png", PNG[:-2]),
            ("image/png", "data:image/png;base64," + PNG),
            ("image/png", base64.b64encode(b"<svg onload=alert(1)>").decode()),
            ("image/png", base64.b64encode(b"\xff\xd8\xff" + bytes(9)).decode()),
            ("image/jpeg", PNG),
            ("image/gif", base64.b64encode(b"GIF90a").decode()),
            ("image/webp", base64.b64encode(b"RIFF1234WAVE").decode()),
        ],
    )
    def test_a_part_that_is_not_what_it_says_is_dropped_with_a_note(self, mime: str, part: Any):
        checked = check_bundle({mime: part})
        assert checked.display().data == {}
        [note] = checked.notes
        assert mime in note

    def test_base64_with_line_ends_is_written_without(self):
        assert check_bundle({"image/png": PNG[:20] + "\n" + PNG[20:] + "\n"}).images == {"image/png": PNG}

    def test_names_are_lowered_and_the_first_of_two_stays(self):
        checked = check_bundle({"Text/HTML": "a", "text/html": "b"})
        assert checked.texts == {"text/html": "a"}
        assert "text/html" in checked.notes[0]

    def test_of_a_thousand_parts_eight_are_kept(self):
        checked = check_bundle({f"text/x{n}": "x" for n in range(1000)})
        assert (len(checked.texts), len(checked.notes) <= 8) == (8, True)

    def test_text_is_cleaned_wherever_it_is(self):
        texts = check_bundle({"text/plain": "\x1b]0;x\x07", "application/json": {"\u202ek": ["\x1b[2J"]}}).texts
        assert texts == {"text/plain": "\\x1b]0;x\\x07", "application/json": {"\\u202ek": ["\\x1b[2J"]}}

    @pytest.mark.parametrize(
        "mime",
        """application/javascript text/javascript text/css text/xml application/xhtml+xml text/unknown
        application/vnd.plotly.v1+json application/vnd.vegalite.v6.json""".split(),
    )
    def test_kinds_that_are_not_known_to_be_passive_are_active(self, mime: str):
        assert check_bundle({mime: "x", "image/png": PNG}).display().active == (mime,)

    @given(
        st.dictionaries(
            st.sampled_from(["text/plain", "text/html", "image/png", "a/json", "x"]) | st.text(),
            st.text() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.none()),
        )
    )
    def test_whatever_comes_the_display_is_json_with_parts_of_the_right_type(self, raw: dict[str, Any]):
        display = check_bundle(raw).display()
        json.dumps(display.to_dict(), allow_nan=False)
        for mime, part in display.data.items():
            assert isinstance(part, str) or "json" in mime


class TestSecrets:
    def test_secrets_are_taken_out_of_the_texts_and_images_stay(self):
        redactor = Redactor(known_secrets=["hunter2hunter2"])
        checked = check_bundle({"text/html": "<b>hunter2hunter2</b>", "image/png": PNG})
        texts, redactions = redactor.redact_value(checked.texts, "display")
        assert [item.where for item in redactions] == ["display"]
        display = checked.display(texts)
        assert display.data == {"text/html": "<b>[redacted:known-secret]</b>", "image/png": PNG}

    def test_the_geometry_of_a_drawing_is_no_credit_card(self):
        path = "M 4111 1111 1111 1111 L 4242 4242 4242 4242"
        checked = check_bundle({"image/svg+xml": f'{SVG}<path d="{path}"/><text>4111 1111 1111 1111</text></svg>'})
        texts, redactions = Redactor().redact_value(checked.texts, "display")
        drawn = checked.display(texts).data["image/svg+xml"]
        assert path in drawn
        assert len(redactions) == 1
        assert "<text>4111" not in drawn

    @pytest.mark.parametrize("place", ['d="#0#"', 'd="#1#"', 'd="#999999999#"', 'points="#0#"'])
    def test_a_drawing_that_forges_the_place_of_geometry_gets_geometry_or_nothing(self, place: str):
        checked = check_bundle({"image/svg+xml": f'{SVG}<path {place}/><path d="M 1 2"/></svg>'})
        drawn = checked.display().data["image/svg+xml"]
        assert drawn.count("M 1 2") in (1, 2)

    def test_what_redaction_makes_active_is_active(self):
        """A rule for secrets may take the end of a quoted value along, and what was inside is then outside."""
        html = '<p title="SECRET" lang=" onclick=alert(1) dir="></p>'
        assert not active('<p title="SECRET" lang="on" dir="ltr"></p>')
        checked = check_bundle({"text/html": html})
        assert checked.display({"text/html": html.replace('SECRET" lang="', '"')}).active == ("text/html",)


class TestHtml:
    @pytest.mark.parametrize(
        "html",
        [
            "",
            "plain text &amp; &lt;script&gt;",
            "<b>x</b> <i>y</i><br><hr>",
            '<p style="color: red; text-align: right;">x</p>',
            '<table border="1" class="dataframe"><thead><tr><th></th></tr></thead></table><p>2 rows × 1 columns</p>',
            '<table><tbody><tr><td colspan="2" align="left">1</td></tr></tbody></table>',
            f'<img src="data:image/png;base64,{PNG}" alt="plot" width="50%">',
            "<ul><li>a<ul><li>b</li></ul></li></ul><dl><dt>a</dt><dd>b</dd></dl>",
            "<!-- a remark -->x",
            "a > b",
        ],
    )
    def test_passive(self, html: str):
        assert not active(html)

    def test_what_pandas_makes_is_passive(self):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {("a", "<x>"): ["&\"'", None], ("a", "y"): [1.5, 2]}, index=pd.Index(["\u202e", "<"], name="n")
        )
        assert not active(check_bundle({"text/html": frame.to_html(show_dimensions=True)}).texts["text/html"])
        assert active(frame._repr_html_())  # it styles the whole page

    @pytest.mark.parametrize(
        "html",
        """<script>alert(1)</script>
        <SCRIPT SRC=//x></SCRIPT>
        <svg onload=alert(1)>
        <img src=x onerror=alert(1)>
        <img src="x" onerror="alert(1)">
        <img src="https://evil.example/pixel.png">
        <img src="//evil.example/pixel.png">
        <img src="data:image/svg+xml;base64,PHN2Zz4=">
        <img src="data:text/html;base64,PHN2Zz4=">
        <img src="data:image/png;base64,AAAA" srcset="//x">
        <p onclick="alert(1)">x</p>
        <p ONCLICK='alert(1)'>x</p>
        <p title="x"onclick="alert(1)">x</p>
        <p/onclick="alert(1)">x</p>
        <a href="javascript:alert(1)">x</a>
        <a href="https://x">x</a>
        <iframe src="https://x"></iframe>
        <iframe srcdoc="x"></iframe>
        <form action="https://x"><input></form>
        <button>x</button>
        <input autofocus onfocus=alert(1)>
        <meta http-equiv="refresh" content="0;url=https://x">
        <base href="https://x">
        <link rel="stylesheet" href="https://x">
        <style>*{display:none}</style>
        <style>@import 'https://x';</style>
        <p style="background:url(https://x)">x</p>
        <p style="background-color:url(https://x)">x</p>
        <p style="color:&#117;rl(x)">x</p>
        <p style="color:ex\\pression(alert(1))">x</p>
        <p style="position:fixed;top:0">x</p>
        <p style="color:red;position:fixed">x</p>
        <object data="x"></object>
        <embed src="x">
        <video src="x"></video>
        <audio src=x onerror=alert(1)>
        <details open ontoggle=alert(1)>
        <marquee onstart=alert(1)>x</marquee>
        <math><mtext></mtext></math>
        <template><script></script></template>
        <noscript><p title="</noscript><img src=x onerror=alert(1)>"></p></noscript>
        <textarea><b></textarea>
        <title><b></title>
        <xmp><b></xmp>
        <plaintext>
        <p id="x">clobbers</p>
        <p name="x">x</p>
        <p class="modal">x</p>
        <p data-controller="x">x</p>
        <p hx-get="/delete">x</p>
        <p tabindex="1">x</p>
        <p contenteditable="true">x</p>
        <!--><script>alert(1)</script>-->
        <!--- ><script>alert(1)</script>-->
        <!-- --!><script>alert(1)</script>-->
        <!-- -- ><b>-->
        <!-- <b></b> -->
        <![CDATA[<b>]]>
        <?xml version="1.0"?>
        <!doctype html>
        <%alert(1)%>
        </p><script>
        <b
        <b title="x
        <b title="<script>">x</b>
        <b title=x>x</b>
        < b>x</b>
        <b/>x
        <div/>x
        <b>x
        x</b>
        </div></div></div>
        <b><i>x</b></i>
        <td>x</td>
        <tr><td>x</td></tr>
        <li>x</li>
        <dd>x</dd>
        <table><table></table></table>
        <table><p>x</p></table>
        <table><tr><p>x</p></tr></table>
        <h1><h2>x</h2></h1>
        <p><span><ul></ul></span></p>
        <p><div></div></p>
        <p><hr></p>
        <b title="x" title="y" href="javascript:alert(1)">x</b>
        <b xlink:href="javascript:alert(1)">x</b>
        <img href="data:image/png;base64,AAAA">
        <p>a</p></body></html>
        <body>x</body>
        <frameset><frame src="x"></frameset>
        <custom-element>x</custom-element>
        <slot>x</slot>
        <p></p title="x">
        a < b""".split("\n        "),
    )
    def test_active(self, html: str):
        assert active(html)

    @pytest.mark.parametrize("char", "\x00\x0b\x0c\x1c\x85\xa0\u2028\u3000")
    def test_only_html_spaces_are_spaces(self, char: str):
        assert active(f'<p{char}title="x">x</p>')

    def test_a_flood_of_tags_and_a_tower_of_tags_are_not_read_on(self):
        assert active("<b></b>" * 20_000)
        assert active("<b>" * 200 + "</b>" * 200)
        assert active("<p " + 'title="" ' * 100 + "></p>")
        assert active('<p style="' + "color:red;" * 1000 + '"></p>')

    @given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
    def test_another_parser_finds_nothing_active_in_what_passes(self, html: str):
        if active(html):
            return
        seen = Seen()
        seen.feed(html)
        seen.close()
        assert seen.tags <= {"b", "p", "br", "table", "tr", "td"}
        assert seen.attributes <= {"title"}


class TestSvg:
    @pytest.mark.parametrize(
        "inside",
        [
            '<path d="M 0 0 L 1,1 z" style="fill: none; stroke: #1f77b4; stroke-width: 1.5"/>',
            '<defs><style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style></defs>',
            '<g id="a" transform="translate(1 2) scale(0.1 -0.1)"></g>',
            "<text style=\"font: 10px 'DejaVu Sans', sans-serif; text-anchor: middle\">x<tspan>y</tspan></text>",
            '<defs><path id="p" d="M 0 0"/></defs><use href="#p" x="1"/>',
            '<clipPath id="c"><rect width="1" height="1"/></clipPath><g clip-path="url(#c)"></g>',
            f'<image href="data:image/png;base64,{PNG}" width="9"/>',
            "<title>t</title><desc>d</desc><!-- 0.25 -->",
        ],
    )
    def test_passive(self, inside: str):
        assert not active_svg(inside)

    @pytest.mark.parametrize(
        "inside",
        """<script>alert(1)</script>
        <script href="https://x"/>
        <foreignObject><body xmlns="http://www.w3.org/1999/xhtml"></body></foreignObject>
        <a href="javascript:alert(1)"><text>x</text></a>
        <g onload="alert(1)"></g>
        <animate attributeName="href" values="javascript:alert(1)"/>
        <set attributeName="onload" to="alert(1)"/>
        <image href="https://x/pixel.png"/>
        <image href="data:image/svg+xml;base64,AAAA"/>
        <use href="https://x/sprite.svg#a"/>
        <use href="data:image/svg+xml,x#a"/>
        <use xlink:href="javascript:alert(1)"/>
        <path fill="url(https://x#a)" d="M 0 0"/>
        <path style="fill: url(https://x)" d="M 0 0"/>
        <path style="fill: url('https://x')" d="M 0 0"/>
        <path filter="url(#f)" d="M 0 0"/>
        <style>@import url(https://x);</style>
        <style>*{stroke-linejoin: round; stroke-linecap: butt} p{display:none}</style>
        <style>p{display:none}<!-- x -->*{stroke-linejoin: round; stroke-linecap: butt}</style>
        <style></style>
        <title><style><img src="x" onerror="alert(1)"></style></title>
        <desc><p>x</p></desc>
        <text><p>x</p></text>
        <svg></svg>
        <handler>x</handler>
        <text xml:base="https://x">x</text>
        <rect width="1" xmlns="http://www.w3.org/1999/xhtml"/>
        <feImage href="https://x"/>
        <mask id="m"><rect/></mask>
        <pattern id="p"><rect/></pattern>
        <SCRIPT>alert(1)</SCRIPT>
        <metadata><x></x></metadata>
        <?xml-stylesheet href="https://x"?>
        <g id="a"><use href="#b"/></g><use href="#a"/>
        <path id="a" d="M 0"/><g id="a"></g><use href="#a"/>
        <use href="#nowhere"/>
        <clipPath id="c"><g clip-path="url(#c)"></g>""".split("\n        "),
    )
    def test_active(self, inside: str):
        assert active_svg(inside)

    @pytest.mark.parametrize(
        "root", ['<svg onload="alert(1)">', '<svg transform="translate(-9 -9)">', "<?xml?><svg>", "<g></g><svg>"]
    )
    def test_active_at_the_root(self, root: str):
        assert is_passive("image/svg+xml", "<svg></svg>")
        assert not is_passive("image/svg+xml", f"{root}</svg>")


@pytest.mark.parametrize(
    ("mime", "text", "passive"),
    [
        ("text/latex", r"$\displaystyle \left(x^{2}\right) < y$", True),
        ("text/latex", r"\href{javascript:alert(1)}{x}", False),
        ("text/latex", r"$\require{html}$", False),
        ("text/latex", "<script>", False),
        ("text/markdown", "# Title\n- *a* `x[0]`", True),
        ("text/markdown", "[x](javascript:alert(1))", False),
        ("text/markdown", "![x][1]\n\n[1]: https://x", False),
        ("text/markdown", "<img src=x onerror=alert(1)>", False),
        ("text/markdown", "<https://x>", False),
        ("text/plain", "<script>", True),
        ("application/json", {"a": "<script>"}, True),
    ],
)
def test_other_markup(mime: str, text: Any, passive: bool):
    assert is_passive(mime, text) is passive
