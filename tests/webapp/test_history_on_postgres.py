"""What a database may refuse to keep is kept, and comes back; on SQLite too, but PostgreSQL is the strict one."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest

from hotcell.django import services
from hotcell.django.models import CodeExecution
from hotcell.django.states import State
from hotcell.errors import ConfigurationError

pytestmark = pytest.mark.django_db

NUL = "\N{SYMBOL FOR NULL}"


def stored(code: str | bytes, **options: Any) -> CodeExecution:
    """The row as the database has it, having come back as a result."""
    execution = CodeExecution.objects.get(pk=services.execute(code, **options).pk)
    result = execution.to_result()
    assert result.status == execution.status
    assert result.stdout == execution.stdout
    assert result.value == execution.value
    return execution


def test_nul_in_what_the_code_leaves_is_kept_as_its_escape() -> None:
    execution = stored("print('a\\0b'); ['c\\0d', {'e\\0f': 1}]")
    assert execution.stdout == "a\\x00b\n"
    assert execution.value == ["c\\x00d", {"e\\x00f": 1}]
    failed = stored("raise ValueError('x\\0y')")
    assert failed.error["message"] == "x\\x00y"
    assert "\0" not in failed.stderr


def test_nul_in_the_code_the_context_and_the_metadata_is_kept_as_a_sign() -> None:
    execution = stored("# \0", context={"x": "a\0b", "y": {"k\0": ["\0"]}}, metadata={"m\0": "\0"}, request_id="r\0")
    assert execution.code == f"# {NUL}"
    assert execution.context == {"x": f"a{NUL}b", "y": {f"k{NUL}": [NUL]}}
    assert execution.metadata == {f"m{NUL}": NUL}
    assert execution.request_id == f"r{NUL}"


def test_half_a_surrogate_pair_is_kept_as_its_escape() -> None:
    execution = stored("import sys; print('\\ud800', file=sys.stdout); '\\udfff'")
    assert execution.status in (State.OK, State.ERROR)  # strict streams may refuse it
    value = stored("['\\ud83d', {'\\udfff': 1}]")
    json.dumps(value.value, ensure_ascii=False).encode()  # nothing left that UTF-8 refuses
    assert "ud83d" in json.dumps(value.value)


def test_half_a_surrogate_pair_in_the_code_and_the_metadata_leaves_a_row() -> None:
    services_row = None
    try:
        services_row = services.execute("'\ud800'", metadata={"m": "\ud800"})
    finally:
        execution = CodeExecution.objects.get()
    assert services_row is not None
    assert execution.code == "'\\ud800'"
    assert execution.metadata == {"m": "\\ud800"}
    execution.to_result()


def test_numbers_that_json_has_no_word_for_are_kept_by_name() -> None:
    metadata = {"a": math.nan, "b": [math.inf, -math.inf], "c": 1.5}
    assert stored("1", metadata=metadata).metadata == {"a": "nan", "b": ["inf", "-inf"], "c": 1.5}
    found = stored("[float('nan'), float('inf'), 2]")
    assert found.value_repr == "[nan, inf, 2]"


def test_nan_in_the_context_leaves_a_row_that_says_what_became_of_it() -> None:
    try:
        services.execute("x", context={"x": math.nan})
    except ValueError:
        assert CodeExecution.objects.get().status == State.FAILED
    execution = CodeExecution.objects.get()
    assert execution.context == {"x": "nan"}


def test_signs_of_four_bytes_come_back_in_every_column() -> None:
    sign = "\N{FIRE}\N{GRINNING FACE}"
    execution = stored(f"print('{sign}'); '{sign}'", context={"x": sign}, metadata={sign: sign}, request_id=sign)
    assert (execution.stdout, execution.value, execution.request_id) == (f"{sign}\n", sign, sign)
    assert (execution.context, execution.metadata) == ({"x": sign}, {sign: sign})
    assert sign in execution.code


def test_bytes_that_are_no_utf8_are_kept_as_escapes() -> None:
    assert stored("import os; os.write(1, b'\\xff\\xfe\\x00ok')").stdout.endswith("\\x00ok")
    broken = services.execute(b"x = '\xff'")
    broken.refresh_from_db()
    assert broken.status in (State.ERROR, State.REJECTED)
    assert "\\xff" in broken.code


def test_a_mebibyte_of_output_code_and_metadata_comes_back_whole() -> None:
    size = 1 << 20
    execution = stored(f"print('x' * {size - 1})")
    assert (execution.status, len(execution.stdout), execution.output_bytes) == (State.OK, size, size)
    wide = stored(f"print('\N{FIRE}' * {size // 4 - 1})")
    assert wide.stdout == "\N{FIRE}" * (size // 4 - 1) + "\n"
    big = "y" * size
    execution = stored(f"# {big}\nlen(x)", context={"x": big}, metadata={"m": big})
    assert execution.status == State.REJECTED  # the validator reads no code of that size; the row keeps it all the same
    assert execution.code == f"# {big}\nlen(x)"
    assert (execution.context, execution.metadata) == ({"x": big}, {"m": big})
    assert execution.code_sha256 == execution.to_result().code_sha256
    assert stored("len(x)", context={"x": big}).value == size


def test_output_past_the_limit_is_kept_up_to_it() -> None:
    execution = stored("for _ in range(10_000): print('z' * 1000)")
    assert execution.status == State.OUTPUT_LIMIT
    assert len(execution.stdout) <= 1 << 20


def test_whole_numbers_of_thousands_of_digits_come_back() -> None:
    assert stored("10 ** 3000").value == 10**3000
    assert stored("1", metadata={"n": 10**3000}).metadata == {"n": 10**3000}


def test_a_number_longer_than_python_writes_is_no_failure_of_ours() -> None:
    execution = stored("10 ** 5000")
    assert execution.status in (State.OK, State.ERROR)


@pytest.mark.parametrize("depth", [100, 450, 900, 5000])
def test_a_value_nested_as_deep_as_code_likes_is_no_failure_of_ours(depth: int) -> None:
    execution = stored(f"x = []\nfor _ in range({depth}): x = [x]\nx")
    assert execution.status in (State.OK, State.ERROR)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


UNFIT = {"long": 10**5000, "nested": nested(600), "very nested": nested(5000), "keys": {(1, 2): 3}}


@pytest.mark.parametrize("key", ["metadata", "context"])
@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT.keys())
def test_data_that_cannot_be_kept_leaves_a_row_all_the_same(key: str, value: Any) -> None:
    with contextlib.suppress(ConfigurationError):
        services.execute("1", **{key: {"n": value}})
    assert CodeExecution.objects.count() == 1


def test_a_fraction_stays_one() -> None:
    value = stored("{'b': 1.0, 'a': 0.1, 'c': 1e300}").value
    assert value.keys() == {"a", "b", "c"}
    assert (repr(value["a"]), repr(value["b"])) == ("0.1", "1.0")
    assert float(value["c"]) == 1e300  # jsonb writes it out as a whole number of 301 digits
