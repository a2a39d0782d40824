"""Libraries whose ``show()`` opens a window or a browser elsewhere: here it shows on the screen of ``displays``.

Each is changed right after its import, whenever that is. Processes that the code starts have the libraries as they are.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from hotcell.worker import displays


def install() -> None:
    """Once in a process, best before it imports libraries."""
    for name, adapt in _ADAPTATIONS.items():
        if name in sys.modules:
            adapt(sys.modules[name])
    sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds the modules of the table where they are, and has them adapted when they have run."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        adapt = _ADAPTATIONS.get(name)
        if adapt is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = functools.partial(_run, loader.exec_module, adapt)
        return spec


def _run(exec_module: Callable[[ModuleType], None], adapt: Callable[[Any], None], module: ModuleType) -> None:
    exec_module(module)
    adapt(module)


def _adapt_pyplot(module: Any) -> None:
    show_elsewhere = module.show

    def show(*args: Any, **options: Any) -> None:
        """Show the open figures, and begin a new one with the next plot."""
        if not displays.show_open_figures():
            show_elsewhere(*args, **options)

    module.show = show


def _adapt_ipython(module: Any) -> None:
    module.display = displays.display


def _show_of(name: str) -> Callable[[Any], None]:
    def adapt(module: Any) -> None:
        getattr(module, name).show = _show

    return adapt


def _show(self: Any, *_args: Any, **_options: Any) -> None:
    displays.display(self)


_ADAPTATIONS: dict[str, Callable[[Any], None]] = {
    "matplotlib.pyplot": _adapt_pyplot,
    "matplotlib.figure": _show_of("Figure"),
    "IPython.core.display_functions": _adapt_ipython,
    "plotly.basedatatypes": _show_of("BaseFigure"),
    "altair.vegalite.v5.api": _show_of("TopLevelMixin"),
    "altair.vegalite.v6.api": _show_of("TopLevelMixin"),
    "PIL.Image": _show_of("Image"),
}
