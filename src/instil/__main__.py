"""`python -m instil` is the command `instil`."""

import sys

from instil.cli import main

sys.exit(main())
