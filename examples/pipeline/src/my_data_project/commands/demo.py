"""Run the whole project on example data, offline."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "run the whole project on example data, offline"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Run the demo, if it has not been deleted."""
    from ..common import errors

    name = "my_data_project.demo"
    if importlib.util.find_spec(name) is None:
        raise errors.PermanentError("This project has no demo any more.")
    # By name, because you may delete the module.
    importlib.import_module(name).run()
