"""The jail as data: the order that makes it sound, the limits where they belong, the layers as they are told."""

from __future__ import annotations

import itertools
import os
import resource
import site
import struct
import sys
import sysconfig
from pathlib import Path

import pytest

from hotcell.results import IsolationLevel
from hotcell.sandboxes.local import jail, kernel, layers, mounts
from hotcell.sandboxes.local.zygote import PREPARE

LIMITS = jail.Limits(
    memory_bytes=100 << 20,
    processes=7,
    open_files=33,
    file_bytes=5 << 20,
    disk_bytes=9 << 20,
    disk_files=77,
    cpu_seconds=4,
    branchable=0,
)
BASELINE = (1 << 30, 200 << 20)
INFINITE = (1 << 64) - 1


def plan(*, namespaced: bool = True, without: frozenset[str] = frozenset(), **changes: object) -> list[jail.Step]:
    options = {"limits": LIMITS, "links": [], "ruleset": 9, "baseline": BASELINE, **changes}
    return jail.plan(**options, namespaced=namespaced, without=without)


def order(steps: list[jail.Step]) -> list[str]:
    """The layers in the order of their first steps."""
    return list(dict.fromkeys(step.layer for step in steps))


def rlimits(steps: list[jail.Step]) -> dict[int, tuple[int, int]]:
    found = {}
    for step in steps:
        if step.what == "prlimit64":
            _, pid, number, *_ = step.arguments
            assert pid == 0
            found[number] = struct.unpack("<2Q", next(item for item in step.kept if len(item) == 16))
    return found


def test_every_step_comes_in_an_order_that_leaves_it_able_to_happen() -> None:
    assert order(plan()) == [
        "process-group",
        "mount-namespace",
        "ipc-namespace",
        "private-files",
        "private-proc",
        "user-namespace",
        "parent-death-signal",
        "resource-limits",
        "capabilities",
        "no-new-privileges",
        "not-dumpable",
        "no-executable-memory",
        "landlock",
    ]


def test_each_layer_is_finished_before_the_next_begins() -> None:
    stretches = [layer for layer, _ in itertools.groupby(step.layer for step in plan())]
    assert stretches == order(plan())


def test_without_namespaces_there_are_no_mounts_and_no_powers_to_drop() -> None:
    assert order(plan(namespaced=False)) == [
        "process-group",
        "parent-death-signal",
        "resource-limits",
        "capabilities",
        "no-new-privileges",
        "not-dumpable",
        "no-executable-memory",
        "landlock",
    ]
    assert not {step.what for step in plan(namespaced=False)} & {"mount", "unshare", "symlinkat"}


@pytest.mark.parametrize("namespaced", [True, False])
@pytest.mark.parametrize("layer", sorted(layers.IDS))
def test_leaving_a_layer_out_takes_away_its_steps_and_no_other(layer: str, namespaced: bool) -> None:
    def told(steps: list[jail.Step]) -> list[tuple[str, str]]:
        return [(step.layer, step.what) for step in steps]

    whole = told(plan(namespaced=namespaced))
    rest = told(plan(namespaced=namespaced, without=frozenset({layer})))
    assert rest == [step for step in whole if step[0] != layer]


def test_only_what_an_old_kernel_may_lack_is_optional() -> None:
    assert {step.layer for step in plan() if step.optional} == {"no-executable-memory"}


def test_steps_name_layers_that_exist() -> None:
    assert set(order(plan())) <= layers.IDS


def test_a_kernel_without_landlock_gets_no_step_of_it() -> None:
    assert "landlock" not in order(plan(ruleset=None))


@pytest.mark.threat(12, 17, 18, 19, 20)
def test_limits_land_in_the_right_places() -> None:
    assert rlimits(plan()) == {
        resource.RLIMIT_CORE: (1, 1),
        resource.RLIMIT_CPU: (4, 5),
        resource.RLIMIT_DATA: ((300 << 20),) * 2,
        resource.RLIMIT_AS: ((1 << 30) + (100 << 20) + jail.SLACK_BYTES,) * 2,
        resource.RLIMIT_FSIZE: (5 << 20,) * 2,
        resource.RLIMIT_NOFILE: (33, 33),
        resource.RLIMIT_NPROC: (7, 7),
        resource.RLIMIT_MEMLOCK: (65536, 65536),
        11: (128, 128),  # RLIMIT_SIGPENDING and
        12: (0, 0),  # RLIMIT_MSGQUEUE, which the resource module does not name
    }


def test_without_a_user_namespace_processes_are_not_limited_by_user() -> None:
    """RLIMIT_NPROC would count every process that the host's user has anywhere."""
    assert resource.RLIMIT_NPROC not in rlimits(plan(namespaced=False))


def test_no_limit_overflows() -> None:
    huge = jail.Limits(*[INFINITE - 1] * 7, branchable=0)
    for soft, hard in rlimits(plan(limits=huge, baseline=(1 << 40, 1 << 40))).values():
        assert soft <= hard <= INFINITE


@pytest.mark.threat(5)
def test_the_quota_is_the_size_of_the_cells_own_file_system() -> None:
    quotas = [item for step in plan() if step.what == "mount" for item in step.kept if item.startswith(b"size=")]
    assert quotas == [b"size=%d,nr_inodes=77,mode=700" % (9 << 20)]


def test_mounts_of_the_cell_carry_no_devices_programs_or_set_uid_files() -> None:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    own = [step for step in plan() if step.what == "mount"]
    assert len(own) == 2
    assert all(step.arguments[4] & flags == flags for step in own)


@pytest.mark.threat(49)
def test_every_capability_is_dropped_from_the_bounding_set() -> None:
    dropped = {
        step.arguments[2] for step in plan() if step.what == "prctl" and step.arguments[1] == kernel.PR_CAPBSET_DROP
    }
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert dropped >= set(range(last + 1))


def test_links_to_a_python_below_tmp_get_their_folders_first() -> None:
    link = f"{mounts.CELL}/tmp/a/b/python"
    steps = [step for step in plan(links=[(link, "/.python/0")]) if step.layer == "private-files"]
    made = [step.kept[0].decode() for step in steps if step.what == "mkdirat"]
    assert made[-2:] == [f"{mounts.CELL}/tmp/a", f"{mounts.CELL}/tmp/a/b"]
    assert [step.kept for step in steps if step.what == "symlinkat"] == [(b"/.python/0", link.encode())]
    whats = [step.what for step in steps]
    assert whats.index("symlinkat") > max(place for place, what in enumerate(whats) if what == "mkdirat")


def test_two_links_in_one_folder_make_it_once() -> None:
    links = [(f"{mounts.CELL}/tmp/a/{name}", "/.python/0") for name in "xy"]
    made = [step.kept[0] for step in plan(links=links) if step.what == "mkdirat"]
    assert len(made) == len(set(made))


def test_a_link_right_below_tmp_needs_no_folder() -> None:
    plain = [step.what for step in plan()].count("mkdirat")
    linked = plan(links=[(f"{mounts.CELL}/tmp/python", "/.python/0")])
    assert [step.what for step in linked].count("mkdirat") == plain


def test_walking_stops_at_the_first_failure_and_names_its_layer() -> None:
    bad = jail._step("landlock", "landlock_restrict_self", -1, 0)
    fine = jail._step("process-group", "getpid")
    optional = jail._step("no-executable-memory", "landlock_restrict_self", -1, 0, optional=True)
    jail.walk([fine, optional])
    with pytest.raises(OSError, match="layer landlock"):
        jail.walk([fine, bad])


def test_the_limits_travel_unchanged() -> None:
    number, *values = PREPARE.unpack(PREPARE.pack(7, *LIMITS))
    assert (number, jail.Limits(*values)) == (7, LIMITS)


# The layers as they are told.


def test_every_layer_says_what_it_is_what_it_stops_and_how_to_get_it() -> None:
    assert len(layers.LAYERS) == len(layers.IDS) == 24
    for layer in layers.LAYERS:
        assert layer.id == layer.id.lower().strip() and " " not in layer.id
        assert layer.title and layer.stops.endswith(".")
    for layer in layers.LAYERS:
        if layer.needs_namespaces:
            assert "user namespaces" in layer.remedy


def active(level: IsolationLevel = IsolationLevel.NAMESPACE, **changes: object) -> set[str]:
    options = {"groups": True, "separate_ids": True, "has_landlock": True, "has_mdwe": True, "without": frozenset()}
    found = layers.active(level, **{**options, **changes})
    assert list(found) == [layer.id for layer in layers.LAYERS if layer.id in found]
    return set(found)


def test_a_host_that_gives_everything_has_every_layer() -> None:
    assert active() == layers.IDS


@pytest.mark.parametrize(
    ("fact", "layer"),
    [
        ("groups", "memory-group"),
        ("separate_ids", "separate-uid"),
        ("has_landlock", "landlock"),
        ("has_mdwe", "no-executable-memory"),
    ],
)
def test_what_the_host_lacks_is_not_claimed(fact: str, layer: str) -> None:
    assert active(**{fact: False}) == layers.IDS - {layer}


def test_level_process_claims_no_namespace() -> None:
    found = active(IsolationLevel.PROCESS)
    assert not {name for name in found if "namespace" in name}
    assert not found & {"root-filesystem", "private-proc"}
    assert {"seccomp", "landlock", "private-files", "resource-limits", "capabilities", "environment"} <= found


@pytest.mark.parametrize("layer", sorted(layers.IDS))
def test_a_layer_that_was_left_out_is_not_claimed(layer: str) -> None:
    assert active(without=frozenset({layer})) == layers.IDS - {layer}


# What a cell sees of the host's Python.


def test_python_finds_its_standard_library_and_packages_in_the_cell() -> None:
    paths = mounts.python_paths()
    real = [os.path.realpath(path) for path in paths]
    for wanted in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), os.path.realpath(sys.executable)):
        assert any(os.path.realpath(wanted).startswith((place, place + "/")) for place in real), wanted
    assert len(paths) == len(set(paths))
    assert all(os.path.isabs(path) and os.path.lexists(path) for path in paths)


@pytest.mark.threat(1, 43)
@pytest.mark.parametrize(
    "private",
    [Path.home(), Path.cwd(), Path(__file__), Path(site.getusersitepackages()), Path("/etc/passwd"), Path("/")],
)
def test_nothing_private_of_the_host_is_in_the_cell(private: Path) -> None:
    for path in mounts.python_paths():
        shown = Path(path).resolve()
        assert private.resolve() != shown
        assert shown not in private.resolve().parents


@pytest.mark.parametrize("name", ["HOME", "PYTHONPATH", "PYTHONSTARTUP"])
def test_the_environment_adds_nothing_to_what_a_cell_sees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    before = mounts.python_paths()
    monkeypatch.setenv(name, str(tmp_path))
    assert mounts.python_paths() == before


def test_others_can_read_or_not_without_an_error() -> None:
    assert mounts.others_can_read() in (True, False)


def test_the_cells_user_database_names_nobody_of_the_host() -> None:
    for text in (mounts._ETC["passwd"], mounts._ETC["group"]):
        names = {line.split(":")[0] for line in text.splitlines()}
        assert names <= {"nobody", "nogroup", "root"}


def limits_of(steps: list[jail.Step]) -> dict[int, int]:
    """The soft limits that the steps set, by number."""
    return {step.arguments[2]: struct.unpack("<2Q", step.kept[0])[0] for step in steps if step.what == "prlimit64"}


def test_an_interpreter_may_reserve_what_it_does_not_use() -> None:
    """Counted by a group, nothing else bounds its address space; else a wider bound stays behind the watchdog."""
    usual, alone, counted = (
        limits_of(plan(**options)) for options in ({}, {"program": True}, {"program": True, "counted": True})
    )
    data, space = resource.RLIMIT_DATA, resource.RLIMIT_AS
    assert alone[data] == usual[data] + jail.PROGRAM_SLACK_BYTES
    assert alone[space] == usual[space]
    assert counted[data] == counted[space] == INFINITE
    others = usual.keys() - {data, space}
    assert all(usual[number] == alone[number] == counted[number] for number in others)
