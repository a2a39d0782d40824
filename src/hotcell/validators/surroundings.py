"""Checks of what the program would touch around it: files of the host, and the environment."""

from __future__ import annotations

import ast
import re
from typing import Any

from hotcell.validators.program import Program

_LOOKS_LIKE_PATH = re.compile(
    r"^[/~\\]|^[A-Za-z]:[\\/]|\.\.[/\\]|^\.\.$|\.ssh|\.aws|\.env$|id_rsa|\.netrc|\.kube|\.git-cred|\.bash"
)
_PATH_SIGNS = re.compile(r"[/~\\.]|id_rsa")
_SECRET_PATH = re.compile(
    r"""^/etc/(?:passwd|shadow|gshadow|sudoers|group|ssh|ssl|cron|crontab|hosts|resolv\.conf|fstab|profile|ld\.so|systemd|pam)
    |^/proc/(?:self|thread-self|[0-9]+|kcore|kallsyms|keys|sysrq|net|mounts|sys)(?:/(?!status$|statm$|stat$)|$)
    |^/dev/(?:k?mem|port|sd[a-z]|hd[a-z]|nvme|vd[a-z]|tty|input|kmsg|fb0|loop)
    |^/sys/|^/boot(?:/|$)|^/root(?:/|$)|^/var/(?:run|log|spool|lib|mail)(?:/|$)|^/run/
    |docker\.sock|\.ssh(?:/|$)|\.aws(?:/|$)|\.kube(?:/|$)|\.gnupg|\.netrc|\.pgpass|\.git-credentials|\.docker/config|id_rsa
    |id_ed25519|authorized_keys|\.bash_(?:history|profile)|\.bashrc|\.zshrc|\.profile$|(?:^|/)\.env(?:\.\w+)?$
    |Login\ Data$|/Cookies$|wallet\.dat|key4\.db|^[A-Za-z]:\\+Windows""",
    re.VERBOSE,
)
_HOST_PATH = re.compile(
    r"^(?:~(?:/|$)|/(?:$|\*)|/(?:etc|root|home|proc|sys|var|boot|usr|bin|sbin|lib|lib64|run|Users|opt|srv|app)(?:/|$)|/dev/)"
    r"|^[A-Za-z]:[\\/]+(?:Windows|Users|Program)"
)
_HARMLESS_PATH = re.compile(
    r"^/dev/(?:null|zero|full|u?random|stdin|stdout|stderr|shm(?:/.*)?|fd/[0-2])$|^/proc/(?:cpuinfo|meminfo|stat|loadavg|uptime"
    r"|version)$|^/proc/self/(?:status|statm|stat)$|^/var/tmp(?:/|$)|^/usr/share/(?:dict|fonts|zoneinfo)/|^/home/user/"
)
_UP_AND_OUT = re.compile(r"^(?:\.\./){3,}|^(?:\.\.[/\\])+(?:etc|root|home|proc|usr|var|Windows)\b|/\.\./\.\./")

_OPENERS = frozenset(
    """open fdopen Path PosixPath PurePath read_text read_bytes write_text write_bytes listdir scandir walk iterdir glob
    iglob rglob mkdir makedirs rename replace link symlink symlink_to hardlink_to readlink copy copy2 copyfile copytree
    move chmod
    chdir truncate ZipFile TarFile extractall make_archive unpack_archive connect loadtxt genfromtxt fromfile read_csv
    read_json read_table read_excel FileHandler input_files parse load memmap stat access touch utime getsize FileIO
    mkfifo
    fwalk fopen""".split()
)
_DESTROYERS = frozenset("rmtree remove unlink rmdir removedirs truncate rename move renames replace".split())
_PATH_WORDS = frozenset({"join", "expanduser", "home", "abspath", "realpath", "Path", "format"})
_ENVIRONMENT = frozenset({"os.environ", "os.environb", "posix.environ"})
_SINGLE_READS = frozenset({"get", "setdefault", "pop", "update"})
_CREDENTIAL = re.compile(
    r"SECRET|PASSW|PASSPHRASE|TOKEN(?!IZER)|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|DATABASE_URL|AUTH_KEY|SSH_AUTH|_PWD$",
    re.IGNORECASE,
)


def check_surroundings(program: Program) -> None:
    """Every check of this module."""
    _environment(program)
    if _may_touch_files(program):
        for name, node in program.calls:
            _file_call(program, name, node)
        for node in program.all(ast.BinOp):
            if node.op.__class__ is ast.Div:
                _secret_path(program, node, node)


def _may_touch_files(program: Program) -> bool:
    for node in program.all(ast.Constant):
        value = node.value
        if (
            value.__class__ is str
            and len(value) < 1000
            and (_PATH_SIGNS.search(value) and _LOOKS_LIKE_PATH.search(value))
        ):
            return True
        if value.__class__ is bytes and value[:1] == b"/":
            return True
    return any(node.attr in ("home", "expanduser") for node in program.all(ast.Attribute))


def _file_call(program: Program, name: str, node: ast.Call) -> None:
    func = node.func
    name = program.aliases.get(name, name).rpartition(".")[2]
    opens = name in _OPENERS or name in _DESTROYERS
    if not opens and name not in program.defined:
        return
    arguments = [*node.args[:3], *[item.value for item in node.keywords]]
    for argument in arguments:
        _secret_path(program, argument, node)
    paths = [path for argument in arguments[:2] for path in _paths(program, argument)] if opens else []
    if name in _DESTROYERS or name == "rmtree":
        owner = _paths(program, func.value) if isinstance(func, ast.Attribute) else []
        for path in [*paths, *owner]:
            if _outside(path) or path.rstrip("/") in ("..", "../..", "~", "/"):
                program.report("file.destroy", node, f"{name} would destroy {path[:80]!r}, outside the work directory.")
    elif opens:
        for path in paths:
            if _outside(path):
                program.report("file.host", node, f"{path[:80]!r} is a path of the host.")


def _secret_path(program: Program, argument: Any, node: Any) -> None:
    for path in _paths(program, argument):
        if _SECRET_PATH.search(path) and not _HARMLESS_PATH.search(path):
            program.report("file.host", node, f"{path[:80]!r} belongs to the host.")


def _outside(path: str) -> bool:
    return bool(_HOST_PATH.search(path) or _UP_AND_OUT.search(path)) and not _HARMLESS_PATH.search(path)


def _paths(program: Program, node: Any, depth: int = 0) -> list[str]:
    """The paths an expression may stand for, as far as they are known; joins and ``Path(...) / ...`` included."""
    if depth > 8:
        return []
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [path for item in node.elts[:50] for path in _paths(program, item, depth + 1)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        left, right = _paths(program, node.left, depth + 1), _paths(program, node.right, depth + 1)
        between = "/" if isinstance(node.op, ast.Div) else ""
        joined = [first.rstrip("/") + between + second for first in left for second in right or ["*"]]
        return joined if isinstance(node.op, ast.Div) or right else left
    if isinstance(node, ast.Call):
        return _called_paths(program, node, depth)
    if isinstance(node, ast.JoinedStr):
        first = node.values[0] if node.values else None
        known = program.folder.text(node) or (program.folder.text(first) if isinstance(first, ast.Constant) else None)
        return [known] if known else []
    if isinstance(node, ast.Subscript) and program.resolve(node.value) == "os.environ":
        return ["~"] if program.folder.text(node.slice) == "HOME" else []
    if isinstance(node, ast.Name):
        values = [item for item in program.values.get(node.id, ()) if item is not None]
        return [path for item in values[:20] for path in _paths(program, item, depth + 1)]
    value = program.folder.fold(node)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return [value] if isinstance(value, str) else []


def _called_paths(program: Program, node: ast.Call, depth: int) -> list[str]:
    func = node.func
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    if name == "home":
        return ["~"]
    if name in ("getenv", "get") and node.args and program.folder.text(node.args[0]) == "HOME":
        return ["~"]
    if name == "join" and isinstance(func, ast.Attribute) and len(node.args) > 1:
        parts = [_paths(program, argument, depth + 1) for argument in node.args]
        heads = parts[0]
        tail = "/".join(part[0] if part else "*" for part in parts[1:])
        return [tail if tail.startswith("/") else f"{head.rstrip('/')}/{tail}" for head in heads]
    if name in (
        "expanduser",
        "abspath",
        "realpath",
        "Path",
        "PosixPath",
        "str",
        "fspath",
        "resolve",
        "normpath",
        "joinpath",
    ):
        inner = node.args[0] if node.args else func.value if isinstance(func, ast.Attribute) else None
        return _paths(program, inner, depth + 1)
    known = program.folder.text(node)
    return [known] if known else []


def _environment(program: Program) -> None:
    mentions = [node for node in program.all(ast.Attribute) if node.attr in ("environ", "environb")]
    aliased = [name for name, dotted in program.aliases.items() if dotted in _ENVIRONMENT]
    if aliased:
        mentions += [node for node in program.all(ast.Name) if node.id in aliased]
    if mentions:
        _environment_uses(program, [node for node in mentions if program.resolve(node) in _ENVIRONMENT])
    for name, node in program.calls:
        if name in ("getenv", "getenvb") and node.args:
            _credential(program, node.args[0], node)


def _environment_uses(program: Program, mentions: list[Any]) -> None:
    if not mentions:
        return
    single: dict[int, ast.expr | None] = {id(node.value): node.slice for node in program.all(ast.Subscript)}
    reads = {id(node.func): node.args[0] if node.args else None for node in program.all(ast.Call)}
    for node in program.all(ast.Attribute):
        if node.attr in _SINGLE_READS:
            single[id(node.value)] = reads.get(id(node))
    for node in program.all(ast.Compare):
        single.update({id(item): None for item in node.comparators})
    written = {id(node.value) for node in program.all(ast.Subscript) if not isinstance(node.ctx, ast.Load)}
    for node in mentions:
        if id(node) not in single:
            program.report("environment.harvest", node, "All environment variables are read at once.")
        elif id(node) not in written:
            _credential(program, single[id(node)], node)


def _credential(program: Program, name_node: ast.expr | None, node: Any) -> None:
    for name in program.folder.choices(name_node) or ():
        if isinstance(name, str) and _CREDENTIAL.search(name):
            program.report("environment.harvest", node, f"The variable {name[:60]} holds a credential.")
