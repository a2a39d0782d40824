"""From whatever was given as code to a syntax tree, or to a finding that says why there is none.

`parse` never raises and never takes long, whatever it is given: cheap linear checks bound size, nesting and number
literals before `ast.parse` sees the text. The text it returns is the one that was analysed; run exactly that one.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from hotcell.policy import Policy
from hotcell.results import Severity, Violation
from hotcell.rules import RULES

# Text this short cannot hold an expression that troubles the parser: nesting 3,000 deep parses or fails cleanly in a
# thread with 1 MiB of stack on CPython 3.11 to 3.13.
_HARMLESS_LENGTH = 6_000
_MAX_CHAIN = 1_000
_MAX_DIGITS = 4_300  # CPython's own limit for decimal literals, which the application may have switched off
_FILENAME = "<hotcell check>"
_PLAIN_ENCODINGS = frozenset({"utf8", "utf8sig", "ascii", "usascii"})
_SINGLE_BYTE_ENCODINGS = frozenset({"latin1", "iso88591", "iso885915", "cp1252", "windows1252", "cp1251", "koi8r"})

_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")
_LONG_NUMBER = re.compile(rf"(?<![\w.])[0-9][0-9_]{{{_MAX_DIGITS}}}")
_PIECE = re.compile(
    r"""(?P<comment>\#[^\n\r]*)
    |(?P<string>(?<![A-Za-z0-9_])(?:[rRbBuU]{1,2})?
        (?:'{3}(?:[^'\\]|\\.|'(?!''))*+'{3}|"{3}(?:[^"\\]|\\.|"(?!""))*+"{3}
        |'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+"))
    |(?P<link>\b(?:not|lambda|await|if|elif|for|and|or|in|is)\b|\*\*|[-+~*/%@.|&^<>=!({\[]|["'])
    |(?P<close>[)}\]])
    |(?P<end>[,;]|\\?[\n\r]\s*)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What became of the code that was given."""

    text: str
    """The code as text, without a byte order mark; empty when it was not text."""
    tree: ast.Module | None
    """None when the violations hold an error, and for other languages than Python."""
    violations: tuple[Violation, ...] = ()


class _Refusal(Exception):
    """Carries one finding out of the steps below. ``offset`` counts characters; -1 when there is no place to show."""

    def __init__(self, rule: str, message: str, offset: int = -1, fix: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.offset = offset
        self.fix = fix


def parse(code: str | bytes, policy: Policy) -> Parsed:
    """Decode, measure and parse ``code``. Never raises: what is wrong with it is in ``violations``."""
    text = ""
    try:
        text = _decode(code, policy)
        _measure(text, policy)
        return Parsed(text=text, tree=_tree(text))
    except _Refusal as refusal:
        return Parsed(text=text, tree=None, violations=(_violation(refusal, text),))
    except SyntaxError as error:
        return Parsed(text=text, tree=None, violations=(_syntax_violation(error, text),))


def read(code: str | bytes, policy: Policy) -> Parsed:
    """What can be said of code in any language: that it is text, without null characters, and not too large.

    Never raises, and never gives a tree.
    """
    text = ""
    try:
        text = _decode(code, policy, cookies=False)
        _check_null(text)
        return Parsed(text=text, tree=None)
    except _Refusal as refusal:
        return Parsed(text=text, tree=None, violations=(_violation(refusal, text),))


def lines_of(text: str) -> list[str]:
    """The lines as Python's tokenizer counts them: ended by ``\\n``, ``\\r\\n`` or ``\\r`` and nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def shortened(line: str, limit: int = 160) -> str:
    """One source line as it is shown in a finding."""
    line = line.rstrip()  # not the indentation: columns count it
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _decode(code: object, policy: Policy, *, cookies: bool = True) -> str:
    """``cookies`` says that a coding line means something in the code's language."""
    if isinstance(code, (bytes, bytearray)):
        text = _decode_bytes(bytes(code), policy, cookies=cookies)
    elif isinstance(code, str):
        # A subclass may override any method; the copy has only those of str.
        text = code if type(code) is str else str.__str__(str.__getitem__(code, slice(None)))
        _check_size(len(text), policy)
        if not text.isascii():
            _check_unicode(text, policy)
        if cookies:
            _check_cookie(text, _PLAIN_ENCODINGS | _SINGLE_BYTE_ENCODINGS)
    else:
        raise _Refusal("syntax.type", f"The code is {type(code).__name__}, not text.")
    return text.removeprefix("\ufeff")


def _decode_bytes(code: bytes, policy: Policy, *, cookies: bool) -> str:
    _check_size(len(code), policy)
    if code.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise _Refusal("syntax.encoding", "The source is UTF-16 or UTF-32.", fix="Save it as UTF-8.")
    try:
        text = code.decode("utf-8")
    except UnicodeDecodeError as error:
        line = code.count(b"\n", 0, error.start) + 1
        raise _Refusal("syntax.encoding", f"Line {line} holds bytes that are not UTF-8.") from None
    if cookies:
        _check_cookie(text, _PLAIN_ENCODINGS)
    return text


def _check_size(size: int, policy: Policy) -> None:
    if size > policy.max_source_bytes:
        raise _Refusal("syntax.too-large", f"The source has {size:,} bytes; {policy.max_source_bytes:,} are allowed.")


def _check_unicode(text: str, policy: Policy) -> None:
    try:
        _check_size(len(text.encode()), policy)
    except UnicodeEncodeError as error:
        raise _Refusal("syntax.encoding", "The source holds half of a surrogate pair.") from error


def _check_cookie(text: str, allowed: frozenset[str]) -> None:
    """A coding line means nothing to us, but another reader of the same bytes would see another program."""
    if "coding" not in text[:2000]:
        return
    for line in lines_of(text[:2000])[:2]:
        found = _COOKIE.match(line)
        if found and found[1].lower().replace("-", "").replace("_", "") not in allowed:
            raise _Refusal("syntax.encoding", f"The coding line names {shortened(found[1], 40)!r}; only UTF-8 is read.")


def _measure(text: str, policy: Policy) -> None:
    """Refuse what would cost the parser too much; linear, and next to nothing for short text."""
    _check_null(text)
    if len(text) <= _HARMLESS_LENGTH and policy.max_tokens >= _HARMLESS_LENGTH:
        _check_numbers(text)
        return
    tokens = sum(1 for _ in _WORD_OR_SIGN.finditer(text)) if len(text) > policy.max_tokens else len(text)
    if tokens > policy.max_tokens:
        message = f"The source has about {tokens:,} words and signs; {policy.max_tokens:,} are allowed."
        raise _Refusal("syntax.too-large", message)
    _check_numbers(text)
    _check_chains(text)


def _check_null(text: str) -> None:
    null = text.find("\0")
    if null >= 0:
        raise _Refusal("syntax.encoding", "The source holds a null character.", null, "Remove the null character.")


def _check_numbers(text: str) -> None:
    for found in _LONG_NUMBER.finditer(text) if len(text) > _MAX_DIGITS else ():
        start = found.start()
        line_start = max(text.rfind("\n", 0, start), 0)
        if not any(sign in text[line_start:start] for sign in "'\"#"):
            message = f"A number literal has more than {_MAX_DIGITS:,} digits."
            fix = "Write it as a power or a product, or read it from a file."
            raise _Refusal("syntax.too-complex", message, start, fix)


def _check_chains(text: str) -> None:
    """Count what can nest without a bracket (``a.b.c``, ``--1``, ``x if y else z``) between two separators."""
    if text.count("elif") > _MAX_CHAIN:  # each nests in the one before
        raise _Refusal("syntax.too-complex", f"The program has more than {_MAX_CHAIN:,} elif branches.")
    chain = 0
    outer: list[int] = []
    for found in _PIECE.finditer(text):
        kind = found.lastgroup
        if kind == "link":
            chain += 1
            if chain > _MAX_CHAIN:
                raise _Refusal("syntax.too-complex", "An expression is too long and too deep.", found.start())
            if found[0] in "([{":
                outer.append(chain)
                chain = len(outer)
                if chain > 190:  # the tokenizer gives up at 200
                    raise _Refusal("syntax.too-complex", "Brackets are nested too deep.", found.start())
        elif kind == "close":
            chain = outer.pop() if outer else 0
        elif kind == "end" and (found[0] in ",;" or not (outer or found[0][0] == "\\")):
            chain = len(outer)


def _tree(text: str) -> ast.Module:
    _silence_warnings()
    try:
        return ast.parse(text, _FILENAME)
    except (RecursionError, MemoryError):
        raise _Refusal("syntax.too-complex", "The code is nested too deep for the compiler.") from None
    except (ValueError, OverflowError) as error:
        raise _Refusal("syntax.invalid", f"Python cannot read the source: {error}.") from None


def _silence_warnings() -> None:
    """Keep what the compiler warns of out of the application's log, and from becoming an error under ``-W error``.

    One filter for our own file name, put in place for good. `warnings.catch_warnings` would save and restore the
    filters of the whole process, and two threads doing so undo each other's work.
    """
    if not warnings.filters or warnings.filters[0] != _filter:
        warnings.filterwarnings("ignore", module=re.escape(_FILENAME))


_filter = ("ignore", None, Warning, re.compile(re.escape(_FILENAME)), 0)


def _violation(refusal: _Refusal, text: str) -> Violation:
    line = column = 0
    source_line = ""
    if refusal.offset >= 0:
        before = lines_of(text[: refusal.offset])
        line, column = len(before), len(before[-1]) + 1
        source_line = shortened(before[-1][-80:] + text[refusal.offset : refusal.offset + 80].partition("\n")[0])
    return Violation(
        rule=refusal.rule,
        severity=Severity.ERROR,
        line=line,
        column=column,
        message=refusal.message,
        fix=refusal.fix or RULES[refusal.rule].fix,
        source_line=source_line.replace("\0", "\\0"),
    )


def _syntax_violation(error: SyntaxError, text: str) -> Violation:
    lines = lines_of(text)
    number = error.lineno or 0
    complex_literal = "Exceeds the limit" in error.msg or "too many nested" in error.msg
    return Violation(
        rule="syntax.too-complex" if complex_literal else "syntax.invalid",
        severity=Severity.ERROR,
        line=number,
        column=max(error.offset or 0, 0),
        message=f"This is not valid Python: {error.msg}.",
        fix=_advice(error, text),
        source_line=shortened(lines[number - 1]) if 0 < number <= len(lines) else "",
    )


def _advice(error: SyntaxError, text: str) -> str:
    if text.lstrip().startswith("```") or "\n```" in text:
        return "Send the program alone, without Markdown fences around it."
    if isinstance(error, IndentationError):
        return "Indent each block by four spaces, and do not mix tabs and spaces."
    if "Missing parentheses in call to 'print'" in error.msg:
        return "This is Python 3: write print(...)."
    return RULES["syntax.invalid"].fix
