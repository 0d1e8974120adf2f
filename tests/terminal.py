"""A terminal for commands that ask questions: reads the screen, and types answers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pexpect
import projects
import pyte

UP, DOWN, ENTER, SPACE = "\x1b[A", "\x1b[B", "\r", " "
CONTROL_C, CLEAR = "\x03", "\x15"  # Control-U empties the line


class Terminal:
    """A command in a terminal, and its screen."""

    def __init__(self, *command: str, cwd: Path, width: int = 80, **env: str) -> None:
        self.screen = pyte.HistoryScreen(width, 50, history=1000, ratio=1)
        self.stream = pyte.Stream(self.screen)
        self.written = ""
        kept = projects.clean_environment(**env)
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            cwd=str(cwd),
            env={"TERM": "xterm-256color", **kept, "COLUMNS": str(width), "LINES": "50"},
            dimensions=(50, width),
            encoding="utf-8",
            timeout=60,
        )

    def read(self) -> bool:
        """Read the command's output; return whether more may follow."""
        try:
            text = self.child.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += text
        self.stream.feed(text)
        # Terminals answer a request for the cursor's position.
        for _ in range(text.count("\x1b[6n")):
            cursor = self.screen.cursor
            self.child.send(f"\x1b[{cursor.y + 1};{cursor.x + 1}R")
        return True

    def lines(self) -> list[str]:
        """Return all lines, including those that have scrolled off the screen."""
        history = self.screen.history.top
        width = self.screen.columns
        above = ["".join(line[x].data for x in range(width)).rstrip() for line in history]
        return above + [line.rstrip() for line in self.screen.display]

    def text(self) -> str:
        """Return all text, without the empty lines at the end."""
        return "\n".join(self.lines()).rstrip()

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Wait until the terminal shows a text."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in " ".join(self.text().split()):
                return self.text()
            if not self.read():
                break
        raise AssertionError(f"{text!r} is not shown:\n{self.text()}")

    def type(self, keys: str) -> None:
        """Press keys."""
        self.child.send(keys)

    def end(self) -> int:
        """Wait for the command to end; return its exit code."""
        end = time.monotonic() + 120
        while self.read():
            assert time.monotonic() < end, f"it does not end:\n{self.text()}"
        self.child.close(force=True)
        return self.child.exitstatus if self.child.exitstatus is not None else -1


def copier(*words: str, cwd: Path, width: int = 80, **env: str) -> Terminal:
    """Start the `copier` that is tested."""
    command = Path(os.sys.executable).with_name("copier")
    isolated = {name: os.environ[name] for name in os.environ if name.startswith("COPIER_")}
    return Terminal(str(command), *words, cwd=cwd, width=width, **isolated, **env)
