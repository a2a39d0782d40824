"""The catalogue of rules: what each refuses, why, what to write instead, and how each preset treats it.

Data only. `Policy` picks severities from here; the validators look up messages here; `docs/reference/policy.md` is
this table in prose, and a test keeps them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "off"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing a policy can refuse."""

    id: str
    refuses: str
    """What it matches, as the end of the sentence "This rule refuses ..."."""
    why: str
    fix: str
    """What to write instead."""
    strict: Level
    standard: Level
    permissive: Level

    @property
    def always_on(self) -> bool:
        """True for the rules without which the code cannot be analysed at all."""
        return self.id.startswith("syntax.")


def _always(rule_id: str, refuses: str, why: str, fix: str) -> Rule:
    return Rule(id=rule_id, refuses=refuses, why=why, fix=fix, strict="error", standard="error", permissive="error")


def _refuse(rule_id: str, refuses: str, why: str, fix: str, permissive: Level = "off") -> Rule:
    return Rule(id=rule_id, refuses=refuses, why=why, fix=fix, strict="error", standard="error", permissive=permissive)


def _strict(rule_id: str, refuses: str, why: str, fix: str, standard: Level = "off") -> Rule:
    return Rule(id=rule_id, refuses=refuses, why=why, fix=fix, strict="error", standard=standard, permissive="off")


CATALOGUE: tuple[Rule, ...] = (
    _always(
        "syntax.type",
        "code that is neither text nor bytes",
        "Only text can be analysed.",
        "Pass the program as a str, or as UTF-8 bytes.",
    ),
    _always(
        "syntax.encoding",
        "bytes that are not UTF-8, null characters, lone surrogates, and a coding line that names another encoding",
        "The text that is analysed must be exactly the text that runs.",
        "Save the program as plain UTF-8 and leave out the coding line.",
    ),
    _always(
        "syntax.invalid",
        "text that is not Python",
        "It could not run.",
        "Correct the syntax at the position shown.",
    ),
    _always(
        "syntax.too-large",
        "more source than the policy allows, in bytes or in tokens",
        "Analysing it would cost the application too much time and memory.",
        "Move the data out of the program into a file, and read it from there.",
    ),
    _always(
        "syntax.too-complex",
        "expressions, blocks or number literals too deep or too long for the compiler",
        "Compiling them can exhaust the stack or take quadratic time.",
        "Split the expression over several statements, or build the value in a loop.",
    ),
    _refuse(
        "import.denied",
        "importing a module that the policy's import lists leave out",
        "The policy names the modules that this code may use.",
        "Use one of the allowed modules, or ask for this one to be allowed.",
    ),
    _refuse(
        "import.relative",
        "relative imports",
        "The program is one file and belongs to no package.",
        "Import by the absolute name.",
        permissive="warning",
    ),
    _refuse(
        "process.start",
        "starting other programs: subprocess, os.system, os.popen, os.exec*, os.spawn*, os.fork, pty",
        "Other programs are out of reach of this analysis.",
        "Do the work in Python; multiprocessing and concurrent.futures are available for parallel work.",
    ),
    _refuse(
        "process.signal",
        "sending signals to other processes",
        "A program may end itself, not others.",
        "Stop your own threads and processes with join(), terminate() or an Event.",
    ),
    _refuse(
        "process.control",
        "changing user, root directory, namespaces or other privileges of the process",
        "A program has no use for them here.",
        "Leave the call out; the program already runs with the rights it may have.",
    ),
    _refuse(
        "network.access",
        "sockets, servers and network clients",
        "There is no network where this code runs.",
        "Read the data from a file given to the program, or from its variables.",
    ),
    _refuse(
        "memory.raw",
        "native code and raw memory: ctypes, cffi",
        "Native code can do what no analysis of Python sees.",
        "Use numpy, array or struct for binary data.",
    ),
    _refuse(
        "code.dynamic",
        "running code that is made at run time: eval, exec, compile, marshal, code objects",
        "Code made from data cannot be analysed beforehand.",
        "Write the code out; use ast.literal_eval or json.loads to read data, a dict of functions to dispatch.",
    ),
    _refuse(
        "code.dynamic-import",
        "importing a module whose name is computed",
        "The name of the module is not known beforehand.",
        "Write an import statement with the module's name.",
    ),
    _refuse(
        "escape.gadget",
        "interpreter internals such as __globals__, __subclasses__, __builtins__, frames and code objects",
        "They are steps of the known ways out of a restricted program.",
        "Use ordinary attributes, functions and classes; type(x).__name__ gives a name for printing.",
    ),
    _refuse(
        "escape.class-walk",
        "walking from a value through its class to the base classes",
        "It leads to every class of the interpreter.",
        "Name the class you mean; use isinstance and issubclass to ask about it.",
    ),
    _refuse(
        "escape.dynamic-attribute",
        "reading an attribute by a computed name where that reaches more than the program's own objects",
        "The name of the attribute is not known beforehand.",
        "Write the attribute out as object.name, or keep the values in a dict.",
    ),
    _refuse(
        "escape.format",
        "format strings that read attributes of their arguments",
        "A format string can walk to interpreter internals.",
        "Use an f-string, or pass the attribute's value as the argument.",
    ),
    _refuse(
        "escape.obfuscated",
        "names of internals or of dangerous functions put together from pieces, and look-alike letters in names",
        "Honest code has no reason to hide them.",
        "Write the name plainly, in ASCII letters.",
    ),
    _strict(
        "name.underscore",
        "attributes and names that start with an underscore",
        "Without a wall around the process every internal name is a way out.",
        "Use a public name without the underscore.",
    ),
    _strict(
        "import.changed",
        "assigning to, deleting or otherwise changing a part of something imported: json.dumps = f, math.pi += 1",
        "Without a wall around the process the module is the application's own, and it stays changed.",
        "Keep the value in a variable of the program, or change a subclass or an object that the program made.",
    ),
    _strict(
        "builtin.denied",
        "built-in functions that the policy leaves out, such as open, globals, getattr with a computed name",
        "They reach outside the program's own values.",
        "Work on the values given to the program and return or print the result.",
    ),
    _refuse(
        "file.host",
        "reading or writing files of the host: system directories, home directories, credentials",
        "The program works on its own directory alone.",
        "Use a relative path, or tempfile for scratch files.",
    ),
    _refuse(
        "file.destroy",
        "deleting or overwriting whole directories outside the work directory",
        "It would destroy what is not the program's own.",
        "Delete only files that the program has made, by a relative path.",
    ),
    _refuse(
        "environment.harvest",
        "dumping all environment variables, or reading those that hold credentials",
        "Credentials are not the program's business.",
        "Read the one variable you need by its name, or take the value as an input of the program.",
    ),
    _refuse(
        "host.inspect",
        "looking at other processes, user accounts, the keyboard, the screen or the clipboard",
        "The program has no business with its surroundings.",
        "Work on the data that was given to the program.",
    ),
    _refuse(
        "resource.endless-loop",
        "loops that can never end",
        "They run into the time limit.",
        "Add a condition, a break or a return that ends the loop.",
        permissive="warning",
    ),
    _refuse(
        "resource.giant",
        "values that no memory holds: huge repetitions, ranges turned into lists, towers of powers",
        "They run into the memory or time limit.",
        "Use a smaller size, or a generator that makes one item at a time.",
        permissive="warning",
    ),
    _refuse(
        "resource.regex",
        "regular expressions that take exponential time on some inputs",
        "They run into the time limit.",
        "Do not repeat a group that itself consists of a repetition: write a+ instead of (a+)+.",
        permissive="warning",
    ),
    Rule(
        id="language.unread",
        refuses="code in any other language than Python",
        why="This policy reads Python only; the wall is all there is.",
        fix="Write the program in Python; or lean on the wall alone, and take a policy in which this rule is off.",
        strict="error",
        standard="warning",
        permissive="warning",
    ),
    _strict(
        "interaction.input",
        "waiting for a person: input(), breakpoint()",
        "Nobody sits at the keyboard.",
        "Take the value as a variable of the program.",
        standard="warning",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in CATALOGUE}
