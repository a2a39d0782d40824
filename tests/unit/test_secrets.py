"""Every kind of secret: what is found, what must stay, and a secret cut at every place of a stream."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hotcell.validators.output import Redactor, clean_text
from hotcell.validators.secrets import ALL_KINDS, KINDS, PERSONAL, SECRETS

REDACTOR = Redactor()
ALNUM36 = "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
HEX32 = "0123456789abcdef" * 2

# Each near miss in two pieces, so that no scanner of repositories takes it for real. It must stay as it is.
NEAR_MISSES = {
    "github-token": ("ghp", "_too_short", "xghp", "_" + ALNUM36),
    "github-fine-grained-token": ("github", "_pat_abc", "my_github", "_pattern_of_some_length_here"),
    "gitlab-token": ("glpat", "-short", "mglpat", "-" + ALNUM36[:20]),
    "slack-token": ("xoxb", "-no-digits-first-here", "boxb", "-1234567890-" + ALNUM36),
    "stripe-key": ("sk", "_live_short", "task", "_live_" + ALNUM36, "sk", "_dead_" + ALNUM36),
    "openai-key": ("sk", "-learn-is-a-slug-without-any-secret", "task", "-" + ALNUM36, "sk", "-short1A"),
    "anthropic-key": ("sk", "-ant-hill", "sk", "-ant-colony-optimisation-of-the-travelling-salesman"),
    "google-oauth-secret": ("GOCSPX", "-short", "GOCSP", "-" + ALNUM36),
    "huggingface-token": ("hf", "_hub_download", "shelf", "_" + ALNUM36),
    "npm-token": ("npm", "_config_registry_and_more", "xnpm", "_" + ALNUM36),
    "pypi-token": ("pypi", "-upload-of-a-package", "pypi", "-AgE"),
    "sendgrid-key": ("SG", "." + ALNUM36, "SG", ".short.short"),
    "mailgun-key": ("key", "-" + HEX32[:31], "monkey", "-" + HEX32),
    "shopify-token": ("shpat", "_" + HEX32[:30], "shpxx", "_" + HEX32),
    "square-token": ("sq0atp", "-short", "sq0abc", "-" + ALNUM36[:22]),
    "digitalocean-token": ("dop", "_v1_" + HEX32, "drop", "_v1_" + HEX32 * 2),
    "linear-key": ("lin", "_api_short", "lin", "_alg_" + ALNUM36),
    "notion-token": ("ntn", "_" + ALNUM36, "secret", "_of_the_old_house_" * 3),
    "vault-token": ("hvs", ".short", "hvs", ".method_name_without_any_digits_in_it"),
    "age-secret-key": ("AGE", "-SECRET-KEY-1ABC", "PAGE", "-SECRET-KEY-1" + "Q1W2E3R4T5" * 6),
    "django-secret-key": ("django", "-insecure-short", "django", "-rest-framework-simplejwt-and-more"),
    "docker-hub-token": ("dckr", "_pat_short", "docker", "_pat_" + ALNUM36),
    "grafana-token": ("glsa", "_" + ALNUM36[:20], "glsb", "_" + ALNUM36[:32] + "_0123abcd"),
    "groq-key": ("gsk", "_" + ALNUM36[:20], "xgsk", "_" + ALNUM36 * 2),
    "xai-key": ("xai", "-" + ALNUM36, "xai", "-explains-the-model-to-those-who-ask"),
    "replicate-token": ("r8", "_" + ALNUM36[:20], "er8", "_" + ALNUM36 + "a"),
    "perplexity-key": ("pplx", "-" + ALNUM36[:20], "pplx", "-model-name-with-many-words"),
    "postman-key": ("PMAK", "-" + HEX32, "PMAK", "-short"),
    "rubygems-key": ("rubygems", "_" + HEX32, "rubygems", "_org_mirror_of_packages"),
    "pulumi-token": ("pul", "-" + HEX32, "pul", "-monary-embolism-and-what-follows"),
    "supabase-token": ("sbp", "_" + HEX32, "sbp", "_statement_balance_previous"),
    "tailscale-key": ("tskey", "-auth-short", "tskey", "-something-else-altogether"),
    "sentry-token": ("sntryu", "_" + HEX32, "sentry", "_" + HEX32 * 2),
    "aws-access-key": ("AKIA", "Q1W2E3R4T5", "XAKIA", "Q1W2E3R4T5Y6U7I8", "AKIA", "Q1W2E3R4T5Y6U7I8Z"),
    "google-api-key": ("AIza", "short", "xAIza", ALNUM36[:35]),
    "databricks-token": ("dapi", HEX32[:31], "xdapi", HEX32, "dapi", HEX32 + "0"),
    "twilio-key": ("SK", HEX32[:31], "TASK", HEX32, "SK", HEX32.upper()),
    "jwt": ("eyJ", "hbGciOiJIUzI1NiJ9", "eyJ", "hbGciOiJIUzI1NiJ9.a.b", "a.eyJ", "0123456789"),
    "telegram-token": ("1234", ":AA" + ALNUM36[:33], "123456789", ":AB" + ALNUM36[:33], "123456789", ":AA" + ALNUM36),
    "discord-token": ("Q" + ALNUM36[:23], ".Xa1b2c." + ALNUM36[:27], "M" + ALNUM36[:23], ".Xa1b2." + ALNUM36[:27]),
    "slack-webhook": ("https://slack", ".com/services/", "https://hooks.slack", ".com/services/T1"),
    "discord-webhook": ("https://discord", ".com/api/webhooks/123", "https://discord", ".com/channels/" + "1" * 18),
    "private-key": ("-----BEGIN PUB", "LIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "-----BEGIN CERT",
                    "IFICATE-----\nMII"),
    "aws-secret-key": ("aws_secret_access", "_key = None", "aws_region", " = " + "ab/c" * 10),
    "gcp-service-account": ('"private_key', '_id": "12345678"', '"public_key', '_id": "' + HEX32 + '01234567"'),
    "azure-storage-key": ("Account", "Key=abc", "Account", "Name=" + (ALNUM36 * 3)[:86] + "=="),
    "azure-sas": ("des", "ign=" + ALNUM36, "?s", "ig=short"),
    "authorization-header": ("Authorization", ": none", "the bear", "er of this letter is welcome"),
    "password": ("pass", "word: required", "pass", "word=None", "by", "pass=enabled",
                 "pass", "ed: 1234567", "pass", "word=$PW_VAR"),
    "api-key": ("api", "_key = os.environ", "tok", "en = get_token(1234)", "tok", "ens: 12345678",
                "api", "_key: Optional[str]"),
    "high-entropy": ("sort_", "key=aaaaaaaaaaaaaaaaaaaaaaaaaa1B", "cache_", "key=" + HEX32),
    "url-password": ("postgres://", "db.internal:5432/app", "https://example.org", "/a:b@c",
                     "https://user", "@host/path"),
    "email": ("@", "property", "user@", "localhost", "icon@", "2x.png", "git@", "github.com:a/b", "a @ ", "b.T"),
    "phone": ("2024-", "01-15", "+1234", "567", "1e+", "10", "+0.", "123456789", "155-", "023-4567",
              "x+", "12345678901"),
    "ssn": ("000-", "12-3456", "666-", "12-3456", "900-", "12-3456", "123-", "00-4567", "123-45-", "0000",
            "2123-", "45-6789"),
    "credit-card": ("4111 1111 ", "1111 1112", "1234 5678 9012 3452", "0.", "4111111111111111", "41111111111111110"),
    "iban": ("DE89 3704 ", "0044 0532 0130 01", "XX89", "370400440532013000", "DE8937", "04"),
}  # fmt: skip


def true_case(kind: str) -> str:
    return "".join(KINDS[kind].example)


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
@pytest.mark.parametrize("frame", ["{}", "x {} y", "a\n{}\nb", "é → {} ←", "('{}',)", "<td>{}</td>", "f({})"])
def test_a_true_secret_of_each_kind_is_taken_out_wherever_it_stands(kind: str, frame: str) -> None:
    text, redactions = REDACTOR.redact(frame.format(true_case(kind)), "stdout")
    assert [(item.kind, item.where, item.count) for item in redactions] == [(kind, "stdout", 1)]
    assert f"[redacted:{kind}]" in text


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
def test_a_near_miss_of_each_kind_stays(kind: str) -> None:
    pieces = NEAR_MISSES[kind]
    for text in ("".join(pair) for pair in zip(pieces[::2], pieces[1::2], strict=True)):
        for framed in (text, f"x {text} y", f"('{text}')"):
            assert Redactor(kinds=frozenset({kind})).redact(framed, "stdout") == (framed, ())


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
def test_a_secret_of_each_kind_is_found_when_the_stream_is_cut_anywhere(kind: str) -> None:
    text = f"before {true_case(kind)} after\nnext"
    whole, _ = REDACTOR.redact(text, "stdout")
    for cut in range(len(text) + 1):
        stream = REDACTOR.stream("stdout")
        assert stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush() == whole
        assert [item.kind for item in stream.redactions] == [kind]


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
def test_a_kind_that_is_switched_off_is_not_taken_out(kind: str) -> None:
    _, redactions = Redactor(kinds=ALL_KINDS - {kind}).redact(true_case(kind), "stdout")
    assert kind not in [item.kind for item in redactions]


def test_the_kinds_are_documented_data() -> None:
    assert len(ALL_KINDS) >= 30
    assert SECRETS | PERSONAL == ALL_KINDS and not SECRETS & PERSONAL
    assert {"email", "phone", "ssn", "credit-card", "iban"} == PERSONAL
    for kind in KINDS.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.id)
        assert kind.sentence.endswith(".") and kind.example


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
def test_a_marker_is_never_redacted_again(kind: str) -> None:
    once, _ = REDACTOR.redact(f"{true_case(kind)}\n{true_case(kind)}", "stdout")
    assert REDACTOR.redact(once, "stdout") == (once, ())
    assert clean_text(once) == once


def key_block(name: str, lines: int) -> tuple[str, str, str]:
    return (
        f"-----BEGIN {name}-----\n",
        "".join(f"{ALNUM36}{ALNUM36[:28]}\n" for _ in range(lines)),
        f"-----END {name}-----",
    )


@pytest.mark.parametrize(
    "name", ["PRI" + "VATE KEY", "EC PRI" + "VATE KEY", "OPENSSH PRI" + "VATE KEY", "PGP PRI" + "VATE KEY BLOCK"]
)
def test_a_key_block_goes_as_a_whole_with_or_without_its_end(name: str) -> None:
    begin, body, end = key_block(name, 20)
    assert REDACTOR.redact(f"a\n{begin}{body}{end}\nb", "x")[0] == "a\n[redacted:private-key]\nb"
    truncated, _ = REDACTOR.redact(f"a\n{begin}{body}\nThe end.", "x")
    assert truncated == "a\n[redacted:private-key]\n\nThe end." and ALNUM36 not in truncated
    escaped = f"{begin}{body}{end}".replace("\n", "\\n")
    assert REDACTOR.redact(f'{{"k": "{escaped}"}}', "x")[0] == '{"k": "[redacted:private-key]"}'


def test_a_putty_key_goes_as_a_whole() -> None:
    lines = [
        f"Encryption: none\nComment: me\nPublic-Lines: 1\n{ALNUM36}\nPrivate-Lines: 1\n{ALNUM36}\nPrivate-MAC: {HEX32}"
    ]
    text = "PuTTY-User" + "-Key-File-2: ssh-rsa\n" + "\n".join(lines) + "\nbye"
    assert REDACTOR.redact(text, "x")[0] == "[redacted:private-key]\nbye"


@pytest.mark.parametrize("text", ["pass" + 'word = "correct horse battery"', "'pass" + "wd': 'correct horse battery'"])
def test_a_quoted_password_goes_with_its_blanks(text: str) -> None:
    redacted, _ = REDACTOR.redact(text, "x")
    assert "[redacted:password]" in redacted and "horse" not in redacted


@pytest.mark.parametrize(
    "text", ["(555) " + "123-4567", "415-555" + "-2671", "+1 (415) " + "555-2671", "+1415" + "5552671"]
)
def test_telephone_numbers_in_their_usual_forms(text: str) -> None:
    assert REDACTOR.redact(f"call {text}, please", "x")[0] == "call [redacted:phone], please"


@pytest.mark.parametrize(
    "text", ["37828" + "2246310005", "3782 822463" + " 10005", "5500-0000-" + "0000-0004", "401288" + "8888881881"]
)
def test_card_numbers_in_their_usual_forms(text: str) -> None:
    assert REDACTOR.redact(f"[{text}, 12/27]", "x")[0] == "[[redacted:credit-card], 12/27]"


@pytest.mark.parametrize("text", ["GB82 WEST 1234 " + "5698 7654 32", "FR14200410100505" + "00013M02606"])
def test_bank_accounts_of_several_countries(text: str) -> None:
    assert REDACTOR.redact(f"to {text} now", "x")[0] == "to [redacted:iban] now"


def test_only_the_password_of_a_url_goes() -> None:
    text, _ = REDACTOR.redact("postgres://app:" + "s3cr3tpw@db.example.org/x", "x")
    assert text == "postgres://app:[redacted:url-password]@db.example.org/x"


def test_every_kind_stands_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "redaction.md").read_text()
    rows = [f"| `{kind.id}` | {kind.sentence} |" for kind in KINDS.values()]
    assert [row for row in rows if row not in reference] == []
    assert len(re.findall(r"^\| `[a-z]", reference, re.M)) == len(rows), "a row stands for a kind that does not exist"
