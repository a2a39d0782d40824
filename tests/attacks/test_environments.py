"""Environments: changing what other cells import, adding to it, and what a package does behind one's back."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pip
import pytest
from observers.cells import ask
from observers.wheels import make_wheel, use_only

from hotcell.building import create, remove
from hotcell.environments import Environment, find
from hotcell.errors import EnvironmentFailed
from hotcell.results import Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment in which one package wants to be started with Python, and tells on the host that it was."""
    place = tmp_path_factory.mktemp("environments")
    index = place / "index"
    index.mkdir()
    make_wheel(index, "lower", files={"lower/__init__.py": "value = 'good'\n", "lower/data.txt": "good"})
    make_wheel(
        index,
        "starter",
        files={"starter.pth": f"import sys, os; sys.started = 1; open({str(place / 'ran')!r}, 'w').close()\n"},
    )
    with pytest.MonkeyPatch.context() as patch:
        use_only(index, place / "store", "pip", patch)
        return create("library", packages=["lower", "starter"])


@pytest.fixture(scope="module")
def cells(library: Environment) -> Iterator[LocalSandbox]:
    """Cells in it, behind the wall that this host gives."""
    with LocalSandbox(environment=library, pool_size=1) as sandbox:
        yield sandbox


def everything_in(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of change and content of every file, by path."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else os.fsencode(str(path))
        found[str(path)] = (status.st_mode, status.st_ctime_ns, hashlib.sha256(content).hexdigest())
    return found


CHANGE = """
import os, shutil, sys
package = os.path.dirname(lower.__file__)
above = os.path.dirname(package)
targets = [
    lower.__file__, f"{package}/data.txt", f"{package}/planted.py", f"{above}/planted.pth", f"{above}/sitecustomize.py",
    f"{above}/usercustomize.py", f"{sys.prefix}/pyvenv.cfg", f"{sys.prefix}/bin/python", f"{sys.prefix}/bin/pip",
    f"{sys.prefix}/../environment.json", f"{sys.prefix}/../lock.txt", lower.__cached__, above, package, sys.prefix,
]
for path in targets:
    for action in (
        lambda: open(path, "w").write("import sys; sys.planted = 1"),
        lambda: open(path, "r+").write("import sys; sys.planted = 1"),
        lambda: os.chmod(path, 0o777),
        lambda: os.utime(path, (0, 0)),
        lambda: os.truncate(path, 0),
        lambda: os.rename(path, "/tmp/moved"),
        lambda: os.link(path, "/tmp/linked"),
        lambda: os.rename("planted", path),
        lambda: os.setxattr(path, "user.planted", b"1"),
        lambda: os.symlink("/tmp", path),
        lambda: os.mkdir(path),
        lambda: os.unlink(path),
        lambda: shutil.rmtree(path),
    ):
        try:
            open("planted", "w").write("import sys; sys.planted = 1")
            action()
        except (OSError, ValueError):
            pass
print("tried")
"""


@pytest.mark.threat("env.write")
def test_what_a_cell_imports_it_cannot_change(cells: LocalSandbox, library: Environment) -> None:
    """Writing into an environment, planting a .pth or sitecustomize file, replacing its Python: nothing changes."""
    before = everything_in(library.directory)
    outcome = ask(cells, "import lower\n" + CHANGE)
    assert outcome.stdout == "tried\n", outcome
    assert everything_in(library.directory) == before
    with LocalSandbox(environment=library, pool_size=0) as later:
        look = "import lower, sys; print(lower.value, hasattr(sys, 'planted'))"
        assert ask(later, look).stdout == "good False\n"


INSTALL = """
import mimetypes, os, sys
mimetypes.knownfiles.clear()
sys.path.insert(0, os.path.abspath("pip.zip"))
wheel = os.path.abspath("extra-1.0-py3-none-any.whl")
from pip._internal.cli.main import main
from pip._vendor import distro
distro.name = distro.version = distro.codename = lambda *_, **__: ""  # like mimetypes, it reads /etc or gives up
quiet = ["install", "--no-cache-dir", "--disable-pip-version-check"]
offline = [*quiet, "--no-index", "--no-deps", "--ignore-installed"]
for arguments in (
    [*quiet, "--retries", "0", "--timeout", "1", "-i", f"http://127.0.0.1:{port}/simple", "six"],
    [*offline, wheel],
    [*offline, "--user", wheel],
    [*offline, "--prefix", sys.prefix, wheel],
    [*offline, "--target", os.path.dirname(lower.__file__), wheel],
    [*offline, "--target", "own", wheel],  # its work directory is its own
):
    try:
        print(main(arguments) != 0)
    except BaseException as error:
        print(True)
"""


@pytest.mark.threat("env.install")
def test_a_cell_installs_nothing(cells: LocalSandbox, library: Environment, tmp_path: Path) -> None:
    """A cell that was given pip and a wheel: no index hears of it, and the environment stays as it is."""
    before = everything_in(library.directory)
    wheel = make_wheel(tmp_path, "extra")
    tool = shutil.make_archive(str(tmp_path / "pip"), "zip", Path(pip.__file__).parents[1], "pip")
    with socket.create_server(("127.0.0.1", 0)) as index:
        code = "import lower\n" + INSTALL
        outcome = ask(
            cells,
            code,
            context={"port": index.getsockname()[1]},
            files={"pip.zip": Path(tool), wheel.name: wheel},
            timeout_seconds=60,
        )
        assert select.select([index], [], [], 0.1)[0] == []
    assert [line for line in outcome.stdout.splitlines() if line in ("True", "False")] == [*["True"] * 5, "False"], (
        outcome
    )
    assert everything_in(library.directory) == before
    assert ask(cells, "try: import extra\nexcept ImportError: print('none')").stdout == "none\n"


@pytest.mark.threat("env.startup")
def test_what_a_package_wants_run_at_every_start_runs_inside(
    cells: LocalSandbox, library: Environment, needs_namespaces: None
) -> None:
    """A package's .pth file runs in the fork server's own root, neither at the build nor where the application is."""
    assert ask(cells, "import sys; print(sys.started)").stdout == "1\n"
    assert not (library.directory.parents[1] / "ran").exists()


@pytest.mark.threat("env.locks")
def test_a_cell_cannot_keep_others_from_an_environment(cells: LocalSandbox, library: Environment) -> None:
    """A cell that locks all it can open neither stops a new sandbox nor the removal once it is gone."""
    hold = """
import fcntl, os, sys, time
held = []
for place in (sys.prefix, f"{sys.prefix}/..", f"{sys.prefix}/../..", f"{sys.prefix}/pyvenv.cfg", "/"):
    try:
        held.append(os.open(place, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass
open("ready", "w").close()
time.sleep(60)
"""
    cancellation = Cancellation()
    holder = threading.Thread(
        target=ask, args=(cells, hold), kwargs={"timeout_seconds": 60, "cancellation": cancellation}
    )
    holder.start()
    try:
        with LocalSandbox(environment=library, pool_size=0) as another:
            assert ask(another, "import lower; print(lower.value)").stdout == "good\n"
    finally:
        cancellation.cancel()
        holder.join()


def test_an_environment_that_cells_use_is_not_removed(
    library: Environment, cells: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", str(library.directory.parent))
    assert ask(cells, "1").status is Status.OK
    with pytest.raises(EnvironmentFailed, match="is in use"):
        remove("library")
    assert find("library") == library


@pytest.mark.threat("env.secrets")
def test_nothing_of_the_store_is_shown_but_the_environment(cells: LocalSandbox, library: Environment) -> None:
    """A cell sees neither the manifest beside its environment, nor other environments, nor their names."""
    store = library.directory.parent
    outcome = ask(
        cells,
        """
import os, sys
for path in (store, f"{store}/names", f"{sys.prefix}/../environment.json", f"{sys.prefix}/../lock.txt"):
    try: print("LIST", path, os.listdir(path))
    except OSError: pass
    try: print("READ", path, open(path).read())
    except OSError: pass
""",
        context={"store": str(store)},
    )
    assert outcome.status is Status.OK
    for line in outcome.stdout.splitlines():
        assert line == f"LIST {store} ['{library.digest}']"  # the way to it
