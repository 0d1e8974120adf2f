"""Commands for work on this project, as `python -m`; they are not in the wheel."""

import sys

from . import cli

sys.exit(cli.main())
