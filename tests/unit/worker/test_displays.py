"""What a value looks like, whatever its methods are up to."""

from __future__ import annotations

import base64
import json
import unittest.mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.worker import displays
from hotcell.worker.bundles import bundle

MiB = 1 << 20


def thing(**methods: object) -> object:
    """An object with these methods."""
    return type("Thing", (), {"__repr__": lambda self: "<thing>"} | methods)()


@pytest.mark.parametrize(
    "value", [None, 1, 1.5, "text", [1], {"a": 1}, (1,), {1}, b"", range(3), int, print, json, object(), len, ...]
)
def test_what_is_nothing_but_its_repr_has_no_bundle(value: object):
    assert bundle(value, MiB) is None


def test_each_method_gives_its_part():
    value = thing(
        _repr_html_=lambda self: "<b>x</b>",
        _repr_svg_=lambda self: "<svg/>",
        _repr_png_=lambda self: b"\x89PNG",
        _repr_json_=lambda self: {"a": float("nan"), 1: {2}},
        _repr_markdown_=lambda self: "*x*",
        _repr_latex_=lambda self: "$x$",
        _ipython_display_=lambda self: 1 / 0,
    )
    assert bundle(value, MiB) == {
        "text/plain": "<thing>",
        "text/html": "<b>x</b>",
        "image/svg+xml": "<svg/>",
        "image/png": base64.b64encode(b"\x89PNG").decode(),
        "application/json": {"a": None, "1": [2]},
        "text/markdown": "*x*",
        "text/latex": "$x$",
    }


def test_a_bundle_of_its_own_comes_first_and_may_have_metadata():
    parts = {"text/plain": "mine", "text/html": "<i>", "image/png": b"x", "application/vnd.x+json": {"y": (1,)}}
    value = thing(
        _repr_mimebundle_=lambda self, include, exclude: (parts, {"meta": 1}), _repr_html_=lambda self: ("<b>", {})
    )
    assert bundle(value, MiB) == {**parts, "image/png": "eA==", "application/vnd.x+json": {"y": [1]}}


def test_the_same_picture_comes_as_png_only():
    value = thing(_repr_png_=lambda self: b"p", _repr_jpeg_=lambda self: b"j")
    assert "image/jpeg" not in bundle(value, MiB)


@pytest.mark.parametrize(
    "returned", [1, b"bytes", ["list"], {"a": 1}, object(), ("a", "b", "c"), bytearray(b"x"), memoryview(b"x"), True]
)
def test_html_that_is_no_text_is_left_out_and_the_rest_survives(returned: object):
    found = bundle(thing(_repr_html_=lambda self: returned, _repr_latex_=lambda self: "$x$"), MiB)
    assert found.keys() == {"text/plain", "text/latex"}
    assert "[text/html failed: TypeError: it must be str, not " in found["text/plain"]


def test_methods_that_return_nothing_are_no_display():
    assert bundle(thing(_repr_html_=lambda self: None, _repr_mimebundle_=lambda self, **_: None), MiB) is None


def _raise(error: BaseException):
    def method(self, **_):
        raise error

    return method


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("1"), MemoryError(), RecursionError(), BaseExceptionGroup("x", [KeyboardInterrupt()])]
)
def test_a_method_that_raises_is_named_and_the_value_still_shown(error: BaseException):
    found = bundle(thing(_repr_html_=_raise(error)), MiB)
    assert list(found) == ["text/plain"]
    assert f"[text/html failed: {type(error).__name__}" in found["text/plain"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_once_interrupted_no_more_of_its_code_is_called(error: BaseException):
    called = []
    value = thing(_repr_html_=_raise(error), _repr_latex_=lambda self: called.append(1))
    assert bundle(value, MiB)["text/plain"].startswith("<thing>\n[text/html failed: ")
    assert not called


def test_an_error_that_fails_to_tell_itself_is_told_of():
    class Silent(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    assert "Silent: <str() of this Silent failed>" in bundle(thing(_repr_html_=_raise(Silent())), MiB)["text/plain"]


def test_a_recursion_without_end_ends():
    def method(self):
        return method(self)

    assert "RecursionError" in bundle(thing(_repr_html_=method), MiB)["text/plain"]


@pytest.mark.parametrize(
    ("name", "mime", "part"),
    [
        ("_repr_html_", "text/html", "x" * 10 * MiB),
        ("_repr_html_", "text/html", "\x01" * (MiB // 3)),
        ("_repr_png_", "image/png", b"x" * MiB),
        ("_repr_json_", "application/json", ["x"] * MiB),
        ("_repr_json_", "application/json", range(10**12)),
    ],
)
def test_a_part_too_large_is_left_out_with_a_note(name: str, mime: str, part: object):
    value = thing(**{name: lambda self: part, "_repr_latex_": lambda self: "$x$"})
    assert bundle(value, MiB) == {"text/plain": f"<thing>\n[{mime} left out: too large]", "text/latex": "$x$"}


def test_subclasses_of_str_and_bytes_cannot_lie():
    class Text(str):
        __slots__ = ()

        def __len__(self):
            return 0

        def __str__(self):
            return "a lie"

        def encode(self, *_):
            raise ZeroDivisionError

        isascii = startswith = __getitem__ = encode

    class Bytes(bytes):
        def __bytes__(self):
            raise ZeroDivisionError

        __len__ = __bytes__

    found = bundle(thing(_repr_html_=lambda self: Text("truth"), _repr_png_=lambda self: Bytes(b"x")), MiB)
    assert (type(found["text/html"]), found["text/html"], found["image/png"]) == (str, "truth", "eA==")
    assert bundle(thing(_repr_html_=lambda self: Text("x" * 2 * MiB)), MiB).keys() == {"text/plain"}


def test_bundles_that_lie_are_read_for_what_they_are():
    class Lie(dict):
        def items(self):
            return iter(int, 1)

        __iter__ = keys = items

    parts = Lie({"text/html": "<b>", 5: "x", "a" * 999: "x"})
    assert bundle(thing(_repr_mimebundle_=lambda self, **_: parts), MiB) == {
        "text/plain": "<thing>",
        "text/html": "<b>",
    }


def test_a_bundle_of_a_million_parts_is_cut():
    parts = {f"text/x{n}": "x" for n in range(100_000)}
    assert len(bundle(thing(_repr_mimebundle_=lambda self, **_: parts), MiB)) <= 20


def test_json_that_is_deep_or_goes_in_circles_can_be_sent():
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(1000):
        deep = [deep]
    for data in (loop, deep, {"x": float("inf")}):
        found = bundle(thing(_repr_json_=lambda self, data=data: data), MiB)
        json.dumps(found, allow_nan=False)
        assert found["application/json"]


class Everything:
    """Has any attribute; so do mocks."""

    def __getattr__(self, name):
        return lambda *_, **__: "<b>"


class Nothing:
    def __getattribute__(self, name):
        raise KeyboardInterrupt


class Bad:
    def __repr__(self):
        raise SystemExit

    def _repr_html_(self):
        return "<b>"


def test_objects_that_claim_any_method_are_not_believed():
    assert bundle(Everything(), MiB) is None
    assert bundle(unittest.mock.MagicMock(), MiB) is None


def test_an_object_that_has_no_attribute_at_all_is_no_trouble():
    assert "KeyboardInterrupt" in bundle(Nothing(), MiB)["text/plain"]


def test_a_repr_that_fails_leaves_the_rest():
    assert bundle(Bad(), MiB) == {"text/plain": "<repr failed: SystemExit>", "text/html": "<b>"}


def test_a_class_is_not_asked_for_what_its_instances_show():
    assert bundle(Bad, MiB) is None


def test_one_that_calls_itself_a_library_is_no_trouble():
    impostor = type("DataFrame", (), {"__module__": "pandas.x", "_repr_html_": lambda self: "<b>", "iloc": 3})()
    assert "failed" in bundle(impostor, MiB)["text/plain"]


@given(st.recursive(st.text() | st.binary() | st.floats() | st.none(), lambda inner: st.lists(inner), max_leaves=5))
def test_whatever_a_method_returns_the_bundle_can_be_sent_and_fits(part: object):
    names = ("_repr_html_", "_repr_png_", "_repr_json_", "_repr_svg_", "_repr_markdown_")
    found = bundle(thing(**{name: lambda self: part for name in names}), 40_000)
    assert found is None or len(json.dumps(found, allow_nan=False, ensure_ascii=False).encode()) <= 40_000


class TestScreen:
    @pytest.fixture
    def screen(self):
        shown: list[dict[str, object]] = []
        displays.start(shown.append, ("png",), 100_000)
        yield shown
        displays.finish(None, None)

    def test_display_shows_plain_values_too_and_each_by_itself(self, screen):
        displays.display(1, "a", thing(_repr_html_=lambda self: "<b>"))
        assert screen == [{"text/plain": "1"}, {"text/plain": "'a'"}, {"text/plain": "<thing>", "text/html": "<b>"}]

    def test_display_takes_a_ready_made_bundle(self, screen):
        displays.display({"text/html": "<b>", "bad": object()}, raw=True, display_id="x")
        assert screen[0]["text/html"] == "<b>"
        displays.display("no bundle", raw=True)
        assert "TypeError" in screen[1]["text/plain"]

    def test_the_last_value_is_shown_only_if_it_is_more_than_its_repr(self, screen):
        displays.finish(1, None)
        assert screen == []

    def test_what_fails_in_the_end_is_told_on_stderr(self, screen, capsys):
        displays.finish(thing(_repr_html_=_raise(KeyboardInterrupt())), None)
        assert len(screen) == 1
        assert "while something was shown: KeyboardInterrupt" in capsys.readouterr().err

    def test_an_interrupt_of_display_interrupts_the_code(self, screen):
        with pytest.raises(KeyboardInterrupt):
            displays.display(thing(_repr_html_=_raise(KeyboardInterrupt())))

    def test_when_the_room_is_used_up_it_ends_with_one_too_many(self, screen):
        for _ in range(100):
            displays.display("x" * 3_000)
        assert 100_000 < sum(len(json.dumps(item)) for item in screen) < 110_000

    def test_in_no_room_nothing_is_asked(self):
        shown: list[object] = []
        displays.start(shown.append, (), 0)
        displays.display(thing(_repr_html_=_raise(KeyboardInterrupt())))
        displays.finish(thing(_repr_html_=_raise(KeyboardInterrupt())), None)
        assert shown == []

    def test_without_a_screen_display_prints(self, capsys):
        displays.display(1, thing())
        assert capsys.readouterr().out == "1\n<thing>\n"

    def test_what_was_printed_before_is_written_before(self, monkeypatch, capsys):
        written = []
        displays.start(lambda _: written.append(True), (), 100_000)
        monkeypatch.setattr("sys.stdout", type("Stream", (), {"flush": lambda self: written.append(False)})())
        displays.display(1)
        displays.finish(None, None)
        assert written[:2] == [False, True]


class TestLibraries:
    def test_a_frame_is_a_table_and_data_and_says_how_large_it_is(self):
        pd = pytest.importorskip("pandas")
        found = bundle(pd.DataFrame({f"c{n}": range(1000) for n in range(50)}), MiB)
        assert "<p>1000 rows × 50 columns</p>" in found["text/html"]
        assert found["text/html"].count("<tr") < 65
        data = found["application/json"]
        assert (len(data["data"]), len(data["columns"]), data["shape"]) == (60, 30, [1000, 50])

    def test_what_is_in_a_frame_is_text(self):
        pd = pytest.importorskip("pandas")
        found = bundle(pd.DataFrame({"<script>": ["<img src=x onerror=alert(1)>"]}), MiB)
        assert "<script>" not in found["text/html"]
        assert "<img" not in found["text/html"]

    def test_a_series_is_a_table_too(self):
        pd = pytest.importorskip("pandas")
        found = bundle(pd.Series(range(100), name="n"), MiB)
        assert found["application/json"]["shape"] == [100]
        assert "<th>n</th>" in found["text/html"]
        assert bundle(pd.Series([], dtype=float), MiB)["application/json"]["data"] == []

    def test_a_frame_of_huge_cells_is_left_out_and_its_text_stays(self):
        pd = pytest.importorskip("pandas")
        with pd.option_context("display.max_colwidth", None):
            found = bundle(pd.DataFrame({"a": ["x" * MiB] * 3}), MiB)
        assert found.keys() == {"text/plain"}
        assert "text/html left out" in found["text/plain"]

    def test_an_image_is_a_png(self):
        image = pytest.importorskip("PIL.Image").new("RGB", (2, 2))
        assert base64.b64decode(bundle(image, MiB)["image/png"]).startswith(b"\x89PNG")

    def test_show_of_an_image_shows_it_here(self, show):
        pytest.importorskip("PIL")
        [[found]] = show("from PIL import Image\nImage.new('L', (2, 2)).show()").cells
        assert "image/png" in found

    def test_plotly(self, show):
        pytest.importorskip("plotly")
        code = "import plotly.graph_objects as go\nfig = go.Figure(go.Scatter(y=[1, float('nan')]))\n"
        for last in ("fig", "fig.show()"):
            [[found]] = show(code + last).cells
            assert found["application/vnd.plotly.v1+json"]["data"][0]["type"] == "scatter"
            assert "<script" in found["text/html"]

    def test_altair(self, show):
        pytest.importorskip("altair")
        code = "import altair as alt\nchart = alt.Chart(alt.Data(values=[{'a': 1}])).mark_bar().encode(x='a:Q')\n"
        for last in ("chart", "chart.show()"):
            [[found]] = show(code + last).cells
            assert any(mime.startswith("application/vnd.vegalite.v") for mime in found)
            assert found["text/plain"] == "alt.Chart(...)"
