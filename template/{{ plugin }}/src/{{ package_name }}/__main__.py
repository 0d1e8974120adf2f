"""Commands for development, as `python -m`; users of the package do not need them."""

import sys

from . import cli

# The program's name in help and errors.
sys.exit(cli.main(program=f"python -m {__package__}"))
