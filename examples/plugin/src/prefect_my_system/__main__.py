"""Commands for work on this project, as `python -m`; users of the wheel do not need them."""

import sys

from . import cli

# As it is typed, also in help and errors.
sys.exit(cli.main(program=f"python -m {__package__}"))
