"""``python -m hotcell`` is the command ``hotcell``."""

import sys

from hotcell.cli import main

sys.exit(main())
