"""Commands for work on this project, as `python -m`; users of the wheel have no need of them."""

import sys

from . import cli

# As it is typed, also in help and errors.
sys.exit(cli.main(program=f"python -m {__package__}"))
