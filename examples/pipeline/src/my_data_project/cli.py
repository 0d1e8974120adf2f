"""The project's command: each module of `commands` is a subcommand."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from . import commands
from .common import errors

DISTRIBUTION = "my-data-project"


class Parser(argparse.ArgumentParser):
    """Prints the whole help after an error, not only the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the help, then what is wrong, and exit with 2."""
        self.print_help(sys.stderr)
        self.exit(2, f"\n{self.prog}: {message}\n")


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after an error message."""
    distribution = metadata.distribution(DISTRIBUTION)
    # Argparse formats the description, so a "%" in the summary has to be doubled.
    summary = distribution.metadata["Summary"].replace("%", "%%")
    parser = Parser(
        prog=program or distribution.name, description=f"{distribution.name}: {summary}"
    )
    parser.add_argument("--version", action="version", version=distribution.version)
    words = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for found in pkgutil.iter_modules(commands.__path__):
        command = importlib.import_module(f"{commands.__name__}.{found.name}")
        if not hasattr(command, "HELP"):  # a module that is not a command
            continue
        word = words.add_parser(found.name, help=command.HELP, description=command.__doc__)
        command.configure(word)
        word.set_defaults(run=command.run, error=word.error)
    chosen = parser.parse_args(arguments)
    project = Path(__file__).resolve().parents[2]
    if project in Path.cwd().parents and (project / "pyproject.toml").is_file():
        os.chdir(project)  # .env and data/ are there
    try:
        chosen.run(chosen)
    except (errors.PermanentError, errors.TransientError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D at a question
        print(f"\n{parser.prog}: stopped.", file=sys.stderr)
        return 130
    return 0
