"""The benchmark's arithmetic, and its smallest run. How fast anything is is nobody's promise here: ``make bench``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the package

from benchmarks import __main__ as bench  # noqa: E402
from benchmarks import measure, table  # noqa: E402
from benchmarks.companion import Companion, CompanionError  # noqa: E402
from benchmarks.measure import Contender, Row  # noqa: E402


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 51), (0.95, 96), (1, 100)])
def test_a_quantile_is_the_nearest_rank_in_any_order(share: float, value: float) -> None:
    assert measure.quantile([float(n) for n in range(100, 0, -1)], share) == value


def test_contenders_take_turns_and_start_in_turn() -> None:
    order: list[str] = []

    def contender(name: str, every: int = 1) -> Contender:
        def once() -> float:
            order.append(name)
            return 1.0

        return Contender(name=name, once=once, every=every)

    found = measure.interleave(
        [contender("a"), contender("b"), contender("rare", every=2)], 4, before=lambda: order.append("-")
    )

    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 4, "b": 4, "rare": 2}
    turns = [turn for turn in "".join(order).split("-") if turn][3 * measure.WARM_UP_ROUNDS :]
    assert turns == ["a", "b", "rare", "b", "a", "rare", "a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("bounds", "value", "met"),
    [
        ({"most": 0.8}, 0.8, True),
        ({"most": 0.8}, 0.81, False),
        ({"floor": 350.0}, 350, True),
        ({"floor": 350.0}, 349, False),
        ({}, 1, None),
        ({"most": 0.8}, None, None),
    ],
)
def test_a_target_is_met_up_to_its_bound_and_unknown_without_a_value(
    bounds: dict[str, float], value: float | None, met: bool | None
) -> None:
    assert Row(what="x", value=value, **bounds).met is met


def test_a_row_says_how_far_it_is_from_its_target() -> None:
    assert Row(what="x", value=0.4, most=0.8).to_dict()["share_of_target"] == 0.5


def test_a_ratio_divides_medians_and_minima() -> None:
    row = measure.ratio("x", [1.0, 2.0, 30.0], [2.0, 4.0, 5.0], most=1.0)
    assert (row.value, row.least, row.met) == (0.5, 0.5, True)


def test_every_column_of_a_line_is_under_its_name() -> None:
    row = measure.milliseconds("print(1+1)", [0.001, 0.002, 0.003], of_python=0.1, most=0.8)
    text = table.text_of(row)
    assert text.split() == ["print(1+1)", "2", "ms", "3", "1", "0.1", "<=", "0.8", "NOT", "MET"]
    assert len(text) == len(table.header().splitlines()[0])


def test_a_companion_that_cannot_start_says_why() -> None:
    with pytest.raises(CompanionError, match="no such peer here"):
        Companion([sys.executable, "-c", "print('no such peer here')"])


def test_bare_forks_are_counted() -> None:
    with Companion([sys.executable, "-I", str(ROOT / "benchmarks" / "bare.py")]) as bare:
        count, seconds = bare.ask("count 3").split()
        assert (int(count), float(seconds) > 0) == (3, True)
        count, seconds = bare.ask("seconds 0.05").split()
        assert int(count) > 0
        assert float(seconds) >= 0.05


def test_the_smallest_run_prints_the_table_and_writes_it_as_json(tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-peers", "--only", "start", "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "hotcell --help" in done.stdout
    written = json.loads(target.read_text())
    assert [row["what"] for row in written["groups"]["start"]] == ["hotcell --help"]
    assert written["machine"]["cores"] >= 1


def test_a_group_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(quick: bool) -> list[Row]:
        raise RuntimeError("it broke")

    groups = {"broken": ("Broken", broken), "sound": ("Sound", lambda quick: [Row(what="a row", value=1)])}
    monkeypatch.setattr(bench, "GROUPS", groups)
    assert bench.main(["--no-peers", "--json", str(tmp_path / "bench.json")]) == 1
    printed = capsys.readouterr()
    assert "a row" in printed.out
    assert "it broke" in printed.err
