"""Figures come out by themselves, once, and again only when they have changed."""

from __future__ import annotations

import base64
from typing import Any

import pytest

pytest.importorskip("matplotlib")

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"


def kinds(bundles: list[dict[str, Any]]) -> list[list[str]]:
    return [[mime.partition("/")[2] for mime in bundle] for bundle in bundles]


def test_an_open_figure_is_shown_at_the_end_without_a_call(show):
    [[bundle]] = show(PLOT).cells
    assert bundle["text/plain"] == "<Figure size 640x480 with 1 Axes>"
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_the_figures_of_code_that_failed_are_shown(show):
    assert len(show(PLOT + "1 / 0").cells[0]) == 1


def test_after_an_interrupt_nothing_is_drawn(show):
    assert show(PLOT + "raise KeyboardInterrupt").cells == [[]]


def test_svg_on_request_and_passive(show):
    from hotcell.validators.displays import check_bundle

    [[bundle]] = show(PLOT + "plt.title('5 < 6 & --')", formats=("png", "svg")).cells
    assert kinds([bundle]) == [["plain", "png", "svg+xml"]]
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "metadata" not in bundle["image/svg+xml"]
    assert check_bundle(bundle).display().active == ()


def test_without_a_format_no_figure_is_drawn(show):
    assert show(PLOT, formats=()).cells == [[]]


@pytest.mark.parametrize(
    "last",
    [
        "plt.gcf()",
        "plt.gca()",
        "plt.plot([1])",
        "display(plt.gcf())",
        "plt.gcf().show()",
        "plt.show()",
        "plt.show(); plt.show(block=False)",
        "fig = plt.gcf(); plt.show()\nfig",
        "ax = plt.gca(); plt.show()\nax",
    ],
)
def test_a_figure_that_comes_out_in_two_ways_is_shown_once(show, last: str):
    shown = show(PLOT + last)
    assert kinds(shown.cells[0]) == [["plain", "png"]]
    assert shown.stderr == ""  # above all no warning that Agg has no window


def test_after_show_the_next_plot_is_a_new_figure(show):
    [bundles] = show(PLOT + "plt.show()\nplt.plot([2, 1, 2])\nprint(len(plt.gca().lines))\nplt.show()").cells
    assert len(bundles) == 2
    assert bundles[0]["image/png"] != bundles[1]["image/png"]


def test_a_figure_that_changes_after_show_through_its_name_is_not_lost(show):
    code = PLOT + "fig = plt.gcf()\nplt.show()\nfig.suptitle('late')\nfig"
    assert len(show(code).cells[0]) == 2


def test_show_works_also_for_code_that_asks_for_agg(show):
    shown = show("import matplotlib\nmatplotlib.use('Agg')\n" + PLOT + "plt.show()\nprint(plt.get_fignums())")
    assert (len(shown.cells[0]), shown.stdout) == (1, "[]\n")


def test_two_figures_come_in_the_order_they_were_made(show):
    code = "import matplotlib.pyplot as plt\nfor n in (1, 2):\n plt.figure(n, figsize=(n, 1)); plt.plot([1])\n"
    assert [bundle["text/plain"] for bundle in show(code + "plt.figure(1)\n0").cells[0]] == [
        "<Figure size 100x100 with 1 Axes>",
        "<Figure size 200x100 with 1 Axes>",
    ]


def test_a_figure_with_nothing_on_it_is_not_shown(show):
    assert show("import matplotlib.pyplot as plt\nfig = plt.figure()").cells == [[]]


def test_in_a_session_a_figure_stays_open_and_is_shown_again_only_when_it_changed(show):
    cells = show(PLOT, "x = 1", "plt.title('new')", "plt.savefig('f.png')", "plt.show()", "plt.get_fignums()").cells
    assert [len(cell) for cell in cells] == [1, 0, 1, 0, 0, 0]


def test_a_figure_that_was_shown_can_be_shown_again_by_its_name(show):
    cells = show(PLOT + "fig = plt.gcf()\nplt.show()", "fig", "display(fig, fig)").cells
    assert [len(cell) for cell in cells] == [1, 1, 2]


def test_a_figure_without_pyplot_is_shown_when_it_is_the_value(show):
    [[bundle]] = show("from matplotlib.figure import Figure\nf = Figure()\nf.subplots().plot([1])\nf").cells
    assert "image/png" in bundle


def test_axes_in_a_part_of_a_figure_show_all_of_it(show):
    code = "import matplotlib.pyplot as plt\nparts = plt.figure().subfigures(1, 2)\nparts[0].subplots()\n"
    assert len(show(code).cells[0]) == 1


def test_a_figure_too_large_to_draw_says_so(show):
    [[bundle]] = show(PLOT + "plt.gcf().set_dpi(20_000)").cells
    assert "image/png failed: " in bundle["text/plain"]


def test_a_figure_that_does_not_fit_is_left_out_and_says_so(show):
    [[bundle]] = show(PLOT, room=40_000).cells
    assert kinds([bundle]) == [["plain"]]
    assert "image/png left out: too large" in bundle["text/plain"]


def test_a_canvas_that_fails_leaves_the_other_figures(show):
    code = PLOT + "plt.gcf().canvas.print_figure = lambda *a, **k: 1 / 0\nplt.figure(7)\nplt.plot([1])"
    first, second = show(code).cells[0]
    assert "image/png failed: ZeroDivisionError" in first["text/plain"]
    assert "image/png" in second


def test_a_figure_that_is_none_is_told_of_and_harms_nothing(show):
    shown = show(PLOT + "plt.gcf().canvas.figure = 3", "display(5)")
    assert shown.cells == [[], [{"text/plain": "5"}]]
    assert "Exception ignored while something was shown: AttributeError" in shown.stderr


def test_processes_that_the_code_starts_have_matplotlib_as_it_is(show):
    child = "import matplotlib.pyplot as p; p.plot([1]); p.show(); print(p.show.__module__)"
    shown = show(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)")
    assert shown.stdout == "matplotlib.pyplot\n"


def test_without_matplotlib_there_are_no_figures_and_nothing_is_imported(show):
    shown = show(
        "import sys\nprint([n for n in sys.modules if n.partition('.')[0] in ('matplotlib', 'pandas', 'PIL')])"
    )
    assert shown.stdout == "[]\n"


def test_a_figure_drawn_in_a_forked_child_leaves_the_parents_alone(show):
    code = PLOT + "import os\npid = os.fork()\nif not pid:\n plt.title('child'); os._exit(0)\nos.waitpid(pid, 0)[1]"
    assert [len(cell) for cell in show(code, "1").cells] == [1, 0]
