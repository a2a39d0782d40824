"""What all tests share."""

from importlib.util import find_spec

# Until the engine exists there is nothing for these to run.
collect_ignore = [] if find_spec("hotcell.sandboxes.local.sandbox") else ["unit/test_cli.py", "docs/test_examples.py"]
