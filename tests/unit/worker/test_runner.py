"""What a cell may rely on: it runs as the ``__main__`` of a Python program, and its end is told truthfully."""

from __future__ import annotations

import textwrap

import pytest


def code(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_the_last_expression_is_the_value(cell):
    ran = cell("x = 40\nx + 2")
    assert (ran.report["outcome"], ran.report["value"], ran.report["value_repr"]) == ("ok", 42, "42")


def test_the_variable_result_is_the_value_when_nothing_else_is(cell):
    assert cell("result = [1, 2]\nprint('shown')").report["value"] == [1, 2]


def test_a_result_that_the_caller_passed_in_is_not_a_value(cell):
    ran = cell("print(result)", context={"result": "given"})
    assert (ran.stdout, ran.report["value"]) == ("given\n", None)


def test_context_variables_are_defined(cell):
    assert cell("sum(prices)", context={"prices": [3, 4, 5]}).report["value"] == 12


def test_a_script_without_a_value_has_none(cell):
    ran = cell("print(1 + 1)")
    assert ran.stdout == "2\n"
    assert ran.report == {
        "outcome": "ok",
        "exit_code": 0,
        "value": None,
        "value_repr": None,
        "error": None,
        "memory_error": False,
    }


def test_empty_code_is_fine(cell):
    assert cell("").report["outcome"] == "ok"


def test_our_future_imports_are_not_the_cells(cell):
    ran = cell("def f(x: 1 + 1): ...\nf.__annotations__['x']")
    assert ran.report["value"] == 2


def test_the_cells_future_imports_are_its_own(cell):
    ran = cell("from __future__ import annotations\ndef f(x: 1 + 1): ...\nf.__annotations__['x']")
    assert ran.report["value"] == "1 + 1"


def test_a_coding_cookie_changes_nothing(cell):
    ran = cell("# -*- coding: utf-7 -*-\n'+AHgAeA-'")
    assert ran.report["value"] == "+AHgAeA-"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\nclass A:\n    x = 1\nassert pickle.loads(pickle.dumps(A())).x == 1",
        "import sys\nassert sys.modules['__main__'].__dict__ is globals()",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass P:\n    x: 'int' = 1\nassert P(2).x == 2",
        "import typing\nclass P:\n    x: 'P'\nassert typing.get_type_hints(P) == {'x': P}",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nassert asyncio.run(f()) == 7",
        "import inspect\nclass A:\n    pass\nassert inspect.getsource(A).startswith('class A')",
        "import inspect\ndef f(): return 1\nassert inspect.getsource(f) == 'def f(): return 1\\n'",
        "import os\nassert os.path.dirname(os.path.abspath(__file__)) == os.getcwd()",
        "import sys\nassert sys.argv == ['<cell>']",
        "x: int = 3\nassert __annotations__ == {'x': int}",
        "import abc, enum\nclass C(enum.Enum):\n    A = 1\nassert repr(C.A) == '<C.A: 1>'",
        "class A:\n    def f(self): return __class__\nassert A().f() is A",
        "ok = False\nif __name__ == '__main__':\n    ok = True\nassert ok",
        "import doctest\ndef f():\n    '>>> f()\\n1'\n    return 1\nassert doctest.testmod() == (0, 1)",
    ],
)
def test_what_programs_expect_of_main_holds(cell, text: str):
    ran = cell(text)
    assert ran.report["outcome"] == "ok", ran.error["traceback"]


def test_multiprocessing_by_fork_works(cell):
    ran = cell(
        code("""
        import multiprocessing as mp
        def square(x):
            return x * x
        if __name__ == "__main__":
            with mp.get_context("fork").Pool(2) as pool:
                print(pool.map(square, [1, 2, 3]))
        """)
    )
    assert (ran.report["outcome"], ran.stdout) == ("ok", "[1, 4, 9]\n")


@pytest.mark.parametrize(("expected", "outcome"), [(1, "ok"), (2, "exit")])
def test_unittest_main_works_and_its_verdict_is_the_exit_code(cell, expected: int, outcome: str):
    ran = cell(
        code(f"""
        import unittest
        class T(unittest.TestCase):
            def test_one(self):
                self.assertEqual(1, {expected})
        unittest.main()
        """)
    )
    assert ran.report["outcome"] == outcome
    assert "Ran 1 test" in ran.stderr


@pytest.mark.parametrize(
    ("text", "outcome", "exit_code"),
    [
        ("exit()", "ok", 0),
        ("quit(0)", "ok", 0),
        ("import sys; sys.exit(3)", "exit", 3),
        ("raise SystemExit", "ok", 0),
        ("raise SystemExit(False)", "ok", 0),
        ("raise SystemExit(True)", "exit", 1),
        ("raise SystemExit(-1)", "exit", 255),
        ("raise SystemExit(10 ** 30 + 7)", "exit", 7),
        ("raise SystemExit('wrong')", "exit", 1),
        ("raise SystemExit([1])", "exit", 1),
    ],
)
def test_exit_codes_are_those_python_would_give(cell, text: str, outcome: str, exit_code: int):
    report = cell(text).report
    assert (report["outcome"], report["exit_code"]) == (outcome, exit_code)


def test_an_exit_message_goes_to_stderr(cell):
    assert cell("import sys; sys.exit('no such file')").stderr == "no such file\n"


def test_a_lying_exit_code_is_read_from_the_exception_itself(cell):
    ran = cell("class E(SystemExit):\n    code = 0\n    def __init__(self): SystemExit.code.__set__(self, 5)\nraise E")
    assert (ran.report["outcome"], ran.report["exit_code"]) == ("exit", 5)


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "GeneratorExit", "BaseException", "StopIteration"])
def test_every_other_exception_is_an_error(cell, name: str):
    ran = cell(f"raise {name}('x')")
    assert (ran.report["outcome"], ran.error["type"], ran.error["line"]) == ("error", name, 1)


def test_threads_are_joined_before_the_report(cell):
    ran = cell(
        code("""
        import threading, time
        done = []
        def work():
            time.sleep(0.2)
            done.append(1)
            print("late")
        threading.Thread(target=work).start()
        print("end of main")
        done
        """)
    )
    assert (ran.stdout, ran.report["value"]) == ("end of main\nlate\n", [1])


def test_daemon_threads_are_not_waited_for(cell):
    ran = cell("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()")
    assert ran.report["outcome"] == "ok"


def test_an_exception_in_a_thread_goes_to_stderr(cell):
    ran = cell("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()")
    assert ran.report["outcome"] == "ok"
    assert "ZeroDivisionError" in ran.stderr


def test_an_exception_in_a_finalizer_goes_to_stderr(cell):
    ran = cell("class A:\n    def __del__(self): raise ValueError('inside')\na = A()\ndel a")
    assert ran.report["outcome"] == "ok"
    assert "ValueError: inside" in ran.stderr


def test_exit_functions_of_the_cell_run_last(cell):
    ran = cell("import atexit\natexit.register(print, 'bye')\nprint('hello')")
    assert ran.stdout == "hello\nbye\n"


def test_exit_functions_of_the_fork_server_do_not_run_in_the_cell(cell):
    ran = cell("print('hello')", setup="import atexit; atexit.register(print, 'the server ends')\n")
    assert ran.stdout == "hello\n"


def test_finalizers_registered_before_the_fork_do_not_run_but_the_cells_do(cell):
    setup = "import weakref\nclass A: pass\nkept = A()\nweakref.finalize(kept, print, 'server')\n"
    ran = cell("import weakref\nclass B: pass\nb = B()\nweakref.finalize(b, print, 'cell')\nNone", setup=setup)
    assert ran.stdout == "cell\n"


def test_exit_functions_that_fail_do_not_hide_the_result(cell):
    ran = cell("import atexit\natexit.register(lambda: 1 / 0)\n42")
    assert ran.report["value"] == 42
    assert "ZeroDivisionError" in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import os; os.close(1); os.close(2)",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; del sys.stdout, sys.stderr",
        "import sys; sys.stdout.detach()",
        "import sys\nclass S:\n    def flush(self): raise KeyboardInterrupt\nsys.stdout = S()",
        "import sys; sys.settrace(lambda *a: 1 / 0)",
        "import sys; sys.setprofile(lambda *a: None)",
        "import sys; sys.setrecursionlimit(sys.getrecursionlimit() // 20)",
        "import json; json.dumps = None; json.loads = None",
        "import builtins; builtins.len = builtins.isinstance = builtins.str = None",
        "import threading; threading._shutdown = None",
        "import sys; sys.modules.clear()",
        "globals().clear()",
        "import gc; gc.disable(); gc.set_debug(0)",
    ],
)
def test_the_report_survives(cell, text: str):
    assert cell(text).report["outcome"] == "ok"


def test_output_before_the_streams_are_closed_is_kept(cell):
    assert cell("import sys\nsys.stdout.write('no newline')\nsys.stdout = None").stdout == "no newline"


def test_any_text_can_be_printed(cell):
    assert cell(r"print('\udc80 \u20ac')").stdout == "\\udc80 \u20ac\n"


def test_input_reads_stdin(cell):
    assert cell("print(input() + input())", stdin="a\nb\n").stdout == "ab\n"


def test_input_without_stdin_says_what_to_do(cell):
    ran = cell("x = input('name? ')")
    assert ran.error["type"] == "EOFError"
    assert "context variables" in ran.error["message"]
    assert "namespace.py" not in ran.error["traceback"]


def test_a_timer_that_fires_after_the_code_cannot_lose_the_report(cell):
    ran = cell(
        code("""
        import signal
        class Slow:
            def __repr__(self):
                import time
                time.sleep(5)
        def hit(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, hit)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        Slow()
        """)
    )
    assert "KeyboardInterrupt" in str(ran.report)


def test_a_child_that_the_code_forks_and_lets_run_on_does_not_report_too(cell):
    ran = cell("import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nprint('parent' if pid else 'child')\n42")
    assert (ran.stdout, ran.report["value"]) == ("child\nparent\n", 42)


def test_the_exit_code_and_traceback_of_such_a_child_are_pythons(cell):
    ran = cell("import os\npid = os.fork()\nif not pid:\n    1 / 0\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])")
    assert ran.report["value"] == 1
    assert ran.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_modules_beside_the_cell_can_be_imported(cell):
    text = "from pathlib import Path\nPath('beside.py').write_text('x = 42')\nimport beside\nbeside.x"
    assert cell(text).report["value"] == 42


def test_a_warning_shows_the_line_it_comes_from(cell):
    ran = cell("import warnings\nwarnings.warn('careful')")
    assert "<cell>:2: UserWarning: careful\n  warnings.warn('careful')" in ran.stderr


def test_pythons_own_builtins_are_put_back_before_the_report(cell):
    ran = cell("import builtins\nbuiltins.len = builtins.str = builtins.isinstance = None\n[1, 'two']")
    assert (ran.report["value"], ran.report["value_repr"]) == ([1, "two"], "[1, 'two']")
