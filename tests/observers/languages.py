"""The same programs in every language: what the contract and the attacks are run with."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from hotcell.errors import SandboxUnavailable
from hotcell.languages import Language, register
from hotcell.results import IsolationLevel
from hotcell.sandboxes.local.sandbox import LocalSandbox

PROMISED = os.environ.get("HOTCELL_EXPECT_LANGUAGES", "").split()
"""Set by whoever knows what this host has, so that no language is passed over because it did not come up."""

# As in docs/how-to/languages.md.
PERL = register(
    Language(
        name="perl",
        title="Perl",
        command=("perl", "{code}"),
        suffixes=(".pl",),
        version_code="print $^V",
        paths=("/usr/share/perl", "/usr/share/perl5", "/etc/perl"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Programs of one language. Each does what its name says; ``{}`` in a program is filled in."""

    says: str
    """Prints out to stdout, err to stderr, each with a line end."""
    value: str
    """Its value is {"a": [1, "ü"]}."""
    nothing: str
    """Does nothing."""
    exits: str
    """Ends with status 7."""
    fails: str
    """Fails on line 2 because a file is missing."""
    broken: str
    """Would print early; line 3 is not the language."""
    context: str
    """Prints the variables word and number, joined by a colon."""
    copies: str
    """Copies in.txt to out.txt."""
    unicode: str
    """Prints grüße 🎈."""
    stdin: str
    """Prints how much it read from stdin, in brackets."""
    environment: str
    """Prints every variable of its environment."""
    kills_itself: str
    """With SIGKILL."""
    crashes: str
    """With SIGABRT."""
    busy: str
    """For ever."""
    sleeps: str
    """For a minute."""
    hoards: str
    """Takes memory in small pieces, without end."""
    floods: str
    """Prints without end."""
    leaves_a_child: str
    """Starts sleep 60 and prints started without waiting for it."""
    reads: str
    """Prints the file {}, or refused."""
    writes: str
    """Writes x to the file {}, or prints refused."""
    lists: str
    """Prints what is in the directory {}, or refused."""
    connects: str
    """Prints connected when 127.0.0.1 answers on port {}, or refused."""
    multiplies: str
    """Starts processes or threads without end, and prints stopped when it is refused one."""


BASH = Samples(
    says="echo out; echo err >&2",
    value="""echo '{"a": [1, "ü"]}' >"$HOTCELL_RESULT" """,
    nothing=":",
    exits="exit 7",
    fails="true\ncat missing.txt",
    broken="echo early\ntrue\nif then fi )\n",
    context='echo "$word:$number"',
    copies="cp in.txt out.txt",
    unicode="echo 'grüße 🎈'",
    stdin='text=$(cat); echo "[${#text}]"',
    environment="env",
    kills_itself="kill -9 $$; sleep 9",
    crashes="kill -ABRT $$; sleep 9",
    busy="while :; do :; done",
    sleeps="sleep 60",
    hoards='x=$(printf "%1000000s"); a=(); while :; do a+=("$x"); done',
    floods="yes",
    leaves_a_child="sleep 60 & echo started",
    reads="cat '{}' 2>/dev/null || echo refused",
    writes="{{ echo x >'{}'; }} 2>/dev/null || echo refused",
    lists="ls '{}' 2>/dev/null || echo refused",
    connects="{{ : <>/dev/tcp/127.0.0.1/{}; }} 2>/dev/null && echo connected || echo refused",
    multiplies="for i in $(seq 200); do sleep 9 & done 2>fork.txt; grep -q Resource fork.txt && echo stopped",
)
JAVASCRIPT = Samples(
    says="console.log('out'); console.error('err')",
    value="({a: [1, 'ü']})",
    nothing="",
    exits="process.exit(7)",
    fails="const fs = require('fs');\nfs.readFileSync('missing.txt')",
    broken="console.log('early');\n\nlet x = ;",
    context="console.log(`${word}:${number}`)",
    copies="require('fs').copyFileSync('in.txt', 'out.txt')",
    unicode="console.log('grüße 🎈')",
    stdin="console.log(`[${require('fs').readFileSync(0).length}]`)",
    environment="for (const [name, value] of Object.entries(process.env)) console.log(`${name}=${value}`)",
    kills_itself="process.kill(process.pid, 'SIGKILL'); for (;;);",
    crashes="process.abort()",
    busy="for (;;);",
    sleeps="setTimeout(() => {}, 60000)",
    hoards="const a = []; for (;;) a.push({n: a.length, text: 'x' + a.length})",
    floods="for (;;) console.log('yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')",
    leaves_a_child="""
const {{ spawn }} = require('child_process');
spawn(process.execPath, ['-e', 'setTimeout(() => {{}}, 60000)'], {{detached: true, stdio: 'inherit'}}).unref();
console.log('started')""".replace("{{", "{").replace("}}", "}"),
    reads="try {{ console.log(require('fs').readFileSync('{}', 'utf8')) }} catch {{ console.log('refused') }}",
    writes="try {{ require('fs').writeFileSync('{}', 'x') }} catch {{ console.log('refused') }}",
    lists="try {{ console.log(require('fs').readdirSync('{}').join('\\n')) }} catch {{ console.log('refused') }}",
    connects="""
const socket = require('net').connect({}, '127.0.0.1');
socket.on('connect', () => console.log('connected')).on('error', () => console.log('refused'))""",
    multiplies="""
const { spawn } = require('child_process');
let refused = 0;
for (let i = 0; i < 60; i++) spawn(process.execPath, ['-e', 'setTimeout(() => {}, 9000)']).on('error', () => {
  if (!refused++) { console.log('stopped'); process.exit(0) }
})""",
)
PERL_SAMPLES = Samples(
    says='print "out\\n"; print STDERR "err\\n"',
    value='open(my $f, ">", $ENV{HOTCELL_RESULT}); print $f q({"a": [1, "ü"]})',
    nothing="1;",
    exits="exit 7",
    fails='use strict;\nopen(my $f, "<", "missing.txt") or die "missing";',
    broken='print "early\\n";\n\nmy $x = ;',
    context="""
use JSON::PP;
open(my $f, "<", $ENV{HOTCELL_CONTEXT});
my $context = decode_json(join("", <$f>));
print "$context->{word}:$context->{number}\\n";""",
    copies='use File::Copy; copy("in.txt", "out.txt") or die',
    unicode='print "grüße 🎈\\n"',
    stdin='my $text = join("", <STDIN>); print "[" . length($text) . "]\\n"',
    environment='print "$_=$ENV{$_}\\n" for keys %ENV',
    kills_itself="kill 9, $$; sleep 9",
    crashes="kill 6, $$; sleep 9",
    busy="while (1) {}",
    sleeps="sleep 60",
    hoards='my @a; push @a, "x" x 100000 while 1',
    floods='print "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\\n" while 1',
    leaves_a_child='if (!fork) { sleep 60; exit } print "started\\n"',
    reads='if (open(my $f, "<", "{}")) {{ print <$f> }} else {{ print "refused\\n" }}',
    writes='open(my $f, ">", "{}") and print $f "x" or print "refused\\n"',
    lists='if (opendir(my $d, "{}")) {{ print "$_\\n" for readdir $d }} else {{ print "refused\\n" }}',
    connects="""
use IO::Socket::INET;
print IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => {}, Timeout => 1) ? "connected\\n" : "refused\\n";""",
    multiplies='for (1..200) { my $p = fork; if (!defined $p) { print "stopped\\n"; exit } $p or sleep 9 }',
)
SAMPLES = {"bash": BASH, "javascript": JAVASCRIPT, "perl": PERL_SAMPLES}


@dataclass(frozen=True)
class Spoken:
    """A sandbox of one language, and programs for it."""

    name: str
    sandbox: LocalSandbox
    samples: Samples


@pytest.fixture(scope="session", params=SAMPLES)
def spoken(request: pytest.FixtureRequest, sandbox: LocalSandbox) -> Spoken:
    """Every language in turn; one that this host lacks is passed over, or is a failure when it was promised."""
    name: str = request.param
    return Spoken(name, speaking(sandbox, name), SAMPLES[name])


def speaking(sandbox: LocalSandbox, name: str) -> LocalSandbox:
    """The sandbox for that language; the test is skipped with the reason where there is none."""
    own = sandbox.for_language(name)
    try:
        assert own.info
    except SandboxUnavailable as error:
        if name in PROMISED and sandbox.isolation is IsolationLevel.NAMESPACE:
            raise
        pytest.skip(str(error))
    return own
