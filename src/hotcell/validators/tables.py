"""What the tree validator looks for by name. Data only."""

from __future__ import annotations


def _table(groups: dict[str, str]) -> dict[str, str]:
    return {name: rule for rule, names in groups.items() for name in names.split()}


RULE_OF_MEMBER = _table(
    {
        "process.start": """
            os.system os.popen os.popen2 os.popen3 os.popen4 os.execl os.execle os.execlp os.execlpe os.execv os.execve
            os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe
            os.posix_spawn os.posix_spawnp os.fork os.forkpty os.startfile os.memfd_create os.openpty os.login_tty
            asyncio.create_subprocess_exec asyncio.create_subprocess_shell asyncio.subprocess psutil.Popen
            platform.popen multiprocessing.util.spawnv_passfds shutil._run_command""",
        "process.signal": """
            os.kill os.killpg os.pidfd_open signal.pidfd_send_signal signal.pthread_kill""",
        "process.control": """
            os.setuid os.setgid os.seteuid os.setegid os.setreuid os.setregid os.setresuid os.setresgid os.setgroups
            os.initgroups os.chroot os.fchdir os.mknod os.unshare os.setns os.ptrace os.reboot os.lchown os.chown
            os.fchown
            os.setsid os.setpgid os.setpriority os.nice os.sched_setscheduler os.daemon""",
        "network.access": """
            asyncio.open_connection asyncio.open_unix_connection asyncio.start_server asyncio.start_unix_server
            logging.handlers.SocketHandler logging.handlers.DatagramHandler logging.handlers.SMTPHandler
            logging.handlers.HTTPHandler logging.handlers.SysLogHandler logging.config.listen
            wsgiref.simple_server.make_server urllib.urlopen urllib.urlretrieve multiprocessing.connection""",
        "memory.raw": "numpy.ctypeslib numpy.core._internal._ctypes",
        "code.dynamic": """
            builtins.eval builtins.exec builtins.compile types.CodeType
            numpy.testing.runstring numpy.f2py.compile numpy.f2py.capi_maps distutils.core.run_setup
            importlib.util.spec_from_file_location importlib.util.spec_from_loader importlib.util.module_from_spec
            importlib.machinery importlib._bootstrap importlib._bootstrap_external sys.meta_path sys.path_hooks
            site.addsitedir site.execsitecustomize jsonpickle.decode yaml.unsafe_load yaml.UnsafeLoader
            yaml.Loader yaml.unsafe_load_all""",
        "escape.gadget": """
            sys._getframe sys._current_frames sys._current_exceptions sys.settrace sys.setprofile sys._clear_type_cache
            sys.call_tracing sys._debugmallocstats threading.settrace threading.setprofile
            inspect.currentframe inspect.stack inspect.getouterframes inspect.getinnerframes inspect.trace
            inspect.getgeneratorlocals inspect.getcoroutinelocals
            gc.get_objects gc.get_referrers gc.get_referents builtins.__loader__ builtins.__spec__ builtins.__dict__
            os.__dict__ sys.__dict__ subprocess.__dict__ traceback.walk_stack traceback.walk_tb""",
        "host.inspect": """
            psutil.process_iter psutil.pids psutil.net_connections psutil.net_if_addrs psutil.users os.getlogin
            getpass.getuser getpass.getpass PIL.ImageGrab os.ttyname""",
        "interaction.input": "builtins.input builtins.breakpoint",
    }
)
"""Dotted name -> rule id, wherever the name is mentioned."""

DISTINCT_METHODS = _table(
    {
        "process.start": """
            popen execv execve execvp execvpe execl execle execlp execlpe spawnv spawnve spawnvp spawnvpe spawnl spawnle
            spawnlp spawnlpe posix_spawn posix_spawnp forkpty create_subprocess_exec create_subprocess_shell
            subprocess_exec subprocess_shell""",
        "escape.gadget": "_getframe _current_frames",
    }
)
"""Attribute names that mean the same on whatever object they are found."""

GADGETS = frozenset(
    """
    __globals__ __subclasses__ __builtins__ __code__ __closure__ __func__ __self__ __getattribute__ __mro_entries__
    __subclasshook__ __reduce_ex__ __loader__ __spec__ __import__ __base__ __bases__ __mro__
    f_globals f_locals f_builtins f_code f_back f_trace gi_frame gi_code gi_yieldfrom cr_frame cr_code cr_await
    cr_origin
    ag_frame ag_code ag_await tb_frame tb_next co_code co_consts co_names co_varnames co_filename co_firstlineno
    func_globals func_code func_defaults im_func im_self im_class""".split()
)
"""Attributes that step from an ordinary object into the interpreter."""

HONEST_GADGETS = frozenset(
    "__getattribute__ __reduce_ex__ __func__ __self__ __mro__ __bases__ __base__ tb_next".split()
)
"""Gadgets that ordinary code also uses; under `standard` they are judged by where they are used."""

CLASS_WALKS = frozenset({"__base__", "__bases__", "__mro__"})

FRAME_READS = frozenset({"f_code", "f_back", "co_filename", "co_firstlineno", "co_varnames", "tb_next"})

STRICT_ATTRIBUTES = frozenset(
    """
    mro obj with_traceback sys os posix builtins importlib subprocess socket ctypes inspect gc pickle marshal shutil
    pathlib
    tempfile threading multiprocessing asyncio copyreg sysconfig linecache traceback contextlib codecs types runpy code
    modules meta_path path_hooks stdin stdout stderr settrace setprofile get_objects get_referrers attrgetter
    methodcaller
    tofile fromfile tb_lasti tb_lineno""".split()
)
"""Attributes that `strict` refuses on whatever object, because a module may hide behind any name."""

HIDDEN_WORDS = (GADGETS - FRAME_READS) | frozenset(
    """
    __class__ __dict__ __init__ __getattr__ eval exec compile system popen execve subprocess socket ctypes builtins
    os.system __builtin__ importlib import_module _getframe /bin/sh /bin/bash check_output urllib.request requests
    pty.spawn""".split()
)
"""Words that are suspicious when they are put together from pieces."""

REACHING_MODULES = frozenset(
    "os sys builtins subprocess socket importlib posix ctypes shutil inspect gc types pty marshal code runpy".split()
)
"""Modules that are recognised behind another object's attribute too, as in ``random._os`` or ``asyncio.sys``."""

SAFE_METHOD_NAMES = frozenset(
    """
    __init__ __new__ __post_init__ __repr__ __str__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __bool__ __len__
    __iter__ __next__ __reversed__ __contains__ __getitem__ __setitem__ __delitem__ __missing__ __call__ __add__
    __radd__
    __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__ __floordiv__ __rfloordiv__
    __mod__ __rmod__ __pow__ __rpow__ __neg__ __pos__ __abs__ __invert__ __and__ __or__ __xor__ __lshift__ __rshift__
    __matmul__ __int__ __float__ __complex__ __index__ __round__ __floor__ __ceil__ __trunc__ __enter__ __exit__
    __aenter__ __aexit__ __aiter__ __anext__ __await__ __format__ __copy__ __deepcopy__""".split()
)
"""Special methods that a class may define under `strict`."""

SAFE_DUNDER_NAMES = frozenset({"__name__", "__slots__", "__all__", "__doc__", "__version__", "__author__"})
