"""The promises of the output check: nothing secret gets out, nothing honest is touched, streams equal wholes."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import uuid
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotcell.errors import ConfigurationError
from hotcell.results import Redaction
from hotcell.validators.output import PERSONAL, SECRETS, Redactor, clean_text
from hotcell.validators.secrets import KINDS
from hotcell.validators.stream import HELD_BACK

REDACTOR = Redactor()
KNOWN = 'S3cret!pass/wörd"x'
EXAMPLES = {kind.id: "".join(kind.example) for kind in KINDS.values()}


# --- honest output stays -----------------------------------------------------------------------------------------

RNG = random.Random(7)
HONEST = {
    "describe table": """              price    quantity
count  1.000000e+03  1000.000000
mean   4.987123e+01    50.123000
std    2.891034e-01    28.900123
min    1.234568e-02     1.000000
max    9.999999e+01    99.000000
""",
    "uuids": "\n".join(str(uuid.UUID(int=RNG.getrandbits(128), version=4)) for _ in range(500)),
    "git shas": "\n".join(f"commit {hashlib.sha1(b'%d' % n).hexdigest()}" for n in range(300)),
    "digests": "\n".join(f"{hashlib.sha256(b'%d' % n).hexdigest()}  file{n}.csv" for n in range(300)),
    "named digests": "\n".join(f"cache_key={hashlib.sha256(b'%d' % n).hexdigest()}" for n in range(300)),
    "timestamps": "\n".join(f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}T12:{n % 60:02}:00.123456+00:00" for n in range(300)),
    "milliseconds": "\n".join(str(1_700_000_000_000 + 12_345 * n) for n in range(500)),
    "sixteen digits without a check digit": "\n".join(
        f"{number}" for number in range(4_111_111_111_111_112, 4_111_111_111_111_118)
    ),
    "sixteen digits in a row of numbers": " ".join(str(RNG.randrange(4000, 5000)) for _ in range(2000)),
    "floats": "\n".join(",".join(repr(RNG.random() * 10**n) for n in range(-6, 6)) for _ in range(300)),
    "integers": "\n".join(",".join(str(RNG.randrange(10**9)) for _ in range(8)) for _ in range(300)),
    "png in html": f'<img src="data:image/png;base64,{base64.b64encode(RNG.randbytes(60_000)).decode()}">',
    "code": "def token(self, key: str) -> None:\n    password = getpass()\n    api_key = os.environ['API_KEY']\n"
    "    self.secret_key = settings.SECRET_KEY\n    tokens = tokenizer(text1, max_length=128)\n"
    "@decorator\ndef f(): ...\n",
    "prose": "The key: accuracy. Token: a word. Password: required. The secret: practice. Basic authentication.",
    "json": json.dumps([{"key": f"row {n}", "token_count": n, "password_required": True} for n in range(50)]),
    "more code": "last_pass = DEFAULT_LAST_PASS\nself.password = password\nlogin(password=password, user=user)\n"
    "getpass(prompt='Password: ', stream=None)\nprint('done')\n",
    "traceback": "Traceback (most recent call last):\n  File \"<cell>\", line 1, in <module>\nKeyError: 'price_2024'\n",
    "matrix product": "y = X@W + b\nz = (A @ B).T",
    "numpy": "[1234 5678 9012 3456 7890]\n[0.12345678 0.23456789]\n[-1.5e+10  2.5e+00]",
    "versions": "numpy==1.26.4 pandas==2.2.0 python@3.11.7 sk-learn scikit-learn-intelex-2024.0.1",
}


@pytest.mark.parametrize("name", sorted(HONEST))
def test_honest_output_stays_as_the_same_object(name: str) -> None:
    text = HONEST[name]
    redacted, redactions = REDACTOR.redact(text, "stdout")
    assert redactions == () and redacted is text
    assert clean_text(text) is text


# --- known secrets -----------------------------------------------------------------------------------------------


def disguises(value: str) -> dict[str, str]:
    data = value.encode()
    forms = {
        "plain": value,
        "reversed": value[::-1],
        "hex": data.hex(),
        "HEX": data.hex().upper(),
        "quoted": quote(value, safe=""),
        "json": json.dumps(value),
        "repr": repr([value]),
    }
    for shift in range(3):
        forms[f"base64 {shift}"] = base64.b64encode(b"\xff" * shift + data + b"\xff\xff").decode()
        forms[f"urlsafe {shift}"] = base64.urlsafe_b64encode(b"\xff" * shift + data + b"\xff\xff").decode()
    return forms


@pytest.mark.parametrize("form", sorted(disguises(KNOWN)))
def test_a_known_secret_is_found_in_its_disguises(form: str) -> None:
    redactor = Redactor(known_secrets={"DB_PASSWORD": KNOWN}, kinds=frozenset())
    leak = disguises(KNOWN)[form]
    text, redactions = redactor.redact(f"a {leak} b", "stdout")
    assert redactions == (Redaction(kind="known-secret/DB_PASSWORD", where="stdout", count=1),)
    assert longest_common(text, leak) < 6
    for cut in range(len(leak) + 4):
        stream = redactor.stream("stdout")
        whole = f"a {leak} b"
        assert stream.feed(whole[:cut]) + stream.feed(whole[cut:]) + stream.flush() == text


def longest_common(one: str, other: str) -> int:
    return max(
        (
            size
            for size in range(1, len(other) + 1)
            for at in range(len(other) - size + 1)
            if other[at : at + size] in one
        ),
        default=0,
    )


def test_a_known_secret_of_many_lines_is_found_across_the_pieces_of_a_stream() -> None:
    secret = "line one of it\nline two of it\r\nline three"
    redactor = Redactor(known_secrets=[secret])
    text = f"before\n{secret}\nafter\n"
    for cut in range(len(text)):
        stream = redactor.stream("stdout")
        assert (
            stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush()
            == "before\n[redacted:known-secret]\nafter\n"
        )


def test_values_too_short_to_be_secret_are_left_alone() -> None:
    assert Redactor(known_secrets=["abc", ""]).redact("abc", "stdout") == ("abc", ())


@pytest.mark.parametrize("arguments", [{"known_secrets": "secret"}, {"kinds": frozenset({"no-such-kind"})}])
def test_what_cannot_be_meant_is_refused(arguments: Any) -> None:
    with pytest.raises(ConfigurationError):
        Redactor(**arguments)


def test_personal_data_can_be_let_through() -> None:
    text = f"ada@example.org {EXAMPLES['github-token']}"
    assert Redactor(kinds=SECRETS).redact(text, "x")[0] == "ada@example.org [redacted:github-token]"
    assert Redactor(kinds=PERSONAL).redact(text, "x")[0] == f"[redacted:email] {EXAMPLES['github-token']}"


# --- streams -----------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*EXAMPLES.values(), KNOWN, "word ", "\n", "\r", "=", '"', ": ", "@", "-", "1234 ", "é", "\x1b[31m", "ey"]
)
TEXTS = st.lists(PIECES | st.text(max_size=12), max_size=12).map("".join)


def streamed(redactor: Redactor, text: str, cuts: list[int]) -> str:
    stream = redactor.stream("stdout")
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    out = "".join(stream.feed(text[start:end]) for start, end in pairwise(places))
    return out + stream.flush()


@given(TEXTS, st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_stream_in_any_pieces_equals_the_whole(text: str, cuts: list[int]) -> None:
    redactor = Redactor(known_secrets=[KNOWN])
    assert streamed(redactor, text, cuts) == redactor.redact(clean_text(text), "stdout")[0]


@given(TEXTS)
@example(EXAMPLES["github-token"] + "password=hunter2!xpassword=hunter2!x")
@example(EXAMPLES["linear-key"] + "api_key: a1B2c3D4e5F6g7H8i9J0api_key: a1B2c3D4e5F6g7H8i9J0")
@example(EXAMPLES["azure-sas"] + "password=hunter2!xpassword=hunter2!x")
@example(EXAMPLES["django-secret-key"] + "password=hunter2!x\x1fpassword=hunter2!x")
@example("123-45-6789-" + EXAMPLES["github-token"])
@settings(max_examples=300, deadline=None)
def test_redacted_text_is_stable(text: str) -> None:
    once, _ = REDACTOR.redact(text, "stdout")
    twice, again = REDACTOR.redact(once, "stdout")
    assert twice == once, again


@given(st.sampled_from(sorted(EXAMPLES)), st.integers(0, 3 * HELD_BACK), st.integers(1, 7000))
@settings(max_examples=60, deadline=None)
def test_a_secret_in_a_line_without_end_does_not_slip_through(kind: str, offset: int, step: int) -> None:
    secret = EXAMPLES[kind]
    text = "lorem " * (offset // 6) + f" {secret} " + "ipsum " * (HELD_BACK // 2)
    stream = REDACTOR.stream("stdout")
    out = ""
    fed = 0
    for start in range(0, len(text), step):
        piece = text[start : start + step]
        fed += len(piece)
        out += stream.feed(piece)
        assert fed - len(out) <= HELD_BACK + step + len(secret)
    out += stream.flush()
    assert out == REDACTOR.redact(text, "stdout")[0] and secret not in out


def test_whole_lines_go_out_at_once() -> None:
    stream = REDACTOR.stream("stdout")
    assert stream.feed("a line\nand ") == "a line\n"
    assert stream.feed("progress 10%\r") == "and progress 10%\r"
    assert stream.flush() == "" and stream.redactions == ()


def test_an_escape_sequence_cut_in_two_is_still_understood() -> None:
    stream = REDACTOR.stream("stdout")
    assert stream.feed("a\x1b") + stream.feed("[3") + stream.feed("1mb\x1b") + stream.flush() == "ab\\x1b"


# --- values ------------------------------------------------------------------------------------------------------


def test_secrets_in_keys_and_strings_at_any_depth_are_found() -> None:
    token, mail = EXAMPLES["github-token"], "ada@example.org"
    value = {"rows": [{"note": f"see {token}!"}, [mail, 1.5, None, True]], mail: 4111111111111111, "n": 12345678901}
    redacted, redactions = REDACTOR.redact_value(value)
    assert redacted == {
        "rows": [{"note": "see [redacted:github-token]!"}, ["[redacted:email]", 1.5, None, True]],
        "[redacted:email]": "[redacted:credit-card]",
        "n": 12345678901,
    }
    assert {item.kind: item.count for item in redactions} == {"github-token": 1, "email": 2, "credit-card": 1}
    assert value["rows"][1][0] == mail, "the value that was given is not changed"  # type: ignore[index]


def test_a_name_in_a_value_tells_that_what_it_holds_is_secret() -> None:
    value = {"user": "ada", "pass" + "word": "correct horse battery"}
    assert REDACTOR.redact_value(value)[0] == {"user": "ada", "password": "[redacted:password]"}


def test_quotes_in_a_password_do_not_save_its_end() -> None:
    secret = """it's "so" \\ secret, 99 times"""
    assert REDACTOR.redact_value({"pass" + "word": secret})[0] == {"password": "[redacted:password]"}
    for text in (
        json.dumps({"password": secret}),
        repr({"password": secret}),
        json.dumps(json.dumps({"password": "a b c, 99"})),
    ):
        redacted, _ = REDACTOR.redact(text, "stdout")
        assert "[redacted:password]" in redacted and "99" not in redacted


def test_an_honest_value_is_the_same_object() -> None:
    value = {"a": [1, 2.5, "three"], "b": {"c": None}}
    assert REDACTOR.redact_value(value)[0] is value


def test_secrets_glued_together_all_go() -> None:
    glued = EXAMPLES["sendgrid-key"] + EXAMPLES["github-token"] + EXAMPLES["aws-access-key"]
    assert REDACTOR.redact(glued, "x")[0] == "[redacted:sendgrid-key][redacted:github-token]"


def test_two_keys_that_become_the_same_both_stay() -> None:
    value = {"a@example.org": 1, "x": 2, "b@example.org": 3}
    assert REDACTOR.redact_value(value)[0] == {"[redacted:email]": 1, "x": 2, "[redacted:email] (2)": 3}


def test_a_value_a_hundred_thousand_deep_is_no_danger() -> None:
    value: Any = "ada@example.org"
    for _ in range(100_000):
        value = [value]
    redacted, redactions = REDACTOR.redact_value(value)
    assert redactions == (Redaction(kind="email", where="value", count=1),)
    while isinstance(redacted, list):
        (redacted,) = redacted
    assert redacted == "[redacted:email]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_no_secret_survives_in_a_value(value: Any) -> None:
    redactor = Redactor(known_secrets=[KNOWN])
    redacted, redactions = redactor.redact_value(value)
    text = json.dumps(redacted, ensure_ascii=False)
    assert KNOWN not in text and json.dumps(KNOWN)[1:-1] not in text
    if not redactions:
        assert redacted is value


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_a_text_file_is_redacted_in_its_own_encoding(encoding: str) -> None:
    content = "name;mail\nJosé;ada@example.org\n".encode(encoding)
    expected = "name;mail\nJosé;[redacted:email]\n".encode(encoding)
    redactions = (Redaction(kind="email", where="artifact:a.csv", count=1),)
    assert REDACTOR.redact_bytes(content, "artifact:a.csv") == (expected, redactions)


def test_binary_content_keeps_its_size_and_loses_only_known_secrets() -> None:
    redactor = Redactor(known_secrets=[KNOWN])
    honest = b"\x89PNG\r\n\x1a\n\0\0" + random.Random(3).randbytes(50_000) + b" ada@example.org "
    assert redactor.redact_bytes(honest, "x") == (honest, ())
    for encoding in ("utf-8", "utf-16-le"):
        content, redactions = redactor.redact_bytes(honest + KNOWN.encode(encoding) + b"\0", "x")
        assert len(content) == len(honest + KNOWN.encode(encoding)) + 1 and content.startswith(honest)
        assert KNOWN.encode(encoding) not in content and redactions[0].kind == "known-secret"


# --- terminals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\r\n é 漢 😀", "plain\ttext\r\n é 漢 😀"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("a\0b\x7f\x85\x9b31m", "a\\x00b\\x7f\\x85\\x9b31m"),
        ("é\u202eabc\u2066\u2028", "é\\u202eabc\\u2066\\u2028"),
        ("\ud800x", "\\ud800x"),
        ("back\bspace\x0b\x0c", "back\\x08space\\x0b\\x0c"),
    ],
)
def test_what_may_harm_a_terminal_becomes_visible(text: str, shown: str) -> None:
    assert clean_text(text) == shown
    assert clean_text(shown) is shown


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b[0;m\x9b\u202e\u2066\ud800\x00")))
def test_nothing_harmful_is_left(text: str) -> None:
    clean = clean_text(text)
    clean.encode()  # No surrogate.
    assert not any((ord(char) < 32 and char not in "\t\n\r") or 127 <= ord(char) < 160 for char in clean)
    assert not set(clean) & set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_colours_do_not_hide_a_secret() -> None:
    token = EXAMPLES["github-token"]
    assert REDACTOR.redact(clean_text(f"{token[:9]}\x1b[1m{token[9:]}"), "x")[0] == "[redacted:github-token]"


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
@pytest.mark.parametrize(
    "before", ["\x1b[2J", "\x1b[1;1H", "\x1b[K", "\x1b[?25l", "\x1b]0;title\x07", "\0", "\x9b", "\u202e"]
)
def test_nothing_for_a_terminal_hides_the_secret_behind_it(kind: str, before: str) -> None:
    redacted, redactions = REDACTOR.redact(clean_text(f"word{before}{EXAMPLES[kind]}"), "x")
    assert [item.kind for item in redactions] == [kind], redacted


def test_a_cursor_sequence_cut_anywhere_hides_no_secret() -> None:
    text = f"x\x1b[12;40H{EXAMPLES['github-token']}\x1b[K\n"
    for cut in range(len(text) + 1):
        assert streamed(REDACTOR, text, [cut]) == "x\\x1b[12;40H[redacted:github-token]\\x1b[K\n"


@pytest.mark.parametrize("glue", ["{}0", "0{}", "a{}b", "_{}_", "x\x1b[2J{}", "é{}"])
def test_a_known_secret_goes_whatever_touches_it(glue: str) -> None:
    redactor = Redactor(known_secrets=["hunter2-s3cret"])
    for beside in ("", *EXAMPLES.values()):
        for text in (beside + glue.format("hunter2-s3cret"), glue.format("hunter2-s3cret") + beside):
            assert "hunter2-s3cret" not in redactor.redact(clean_text(text), "x")[0]


def test_any_number_of_tokens_glued_together_go() -> None:
    glued = "".join(EXAMPLES[kind] for kind in ("pulumi-token", "google-api-key", "supabase-token")) * 20
    assert REDACTOR.redact(f"a {glued} b", "x")[1] == tuple(
        Redaction(kind=kind, where="x", count=20) for kind in ("google-api-key", "pulumi-token", "supabase-token")
    )


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_in_a_long_text_no_secret_is_lost_where_it_is_taken_in_pieces(kind: str) -> None:
    line = f"{'lorem ' * 40}{EXAMPLES[kind]}\n"
    lines = 400_000 // len(line)
    text, redactions = REDACTOR.redact(line * lines, "x")
    assert redactions == (Redaction(kind=kind, where="x", count=lines),)
    assert text == f"{'lorem ' * 40}{REDACTOR.redact(EXAMPLES[kind], 'x')[0]}\n" * lines
