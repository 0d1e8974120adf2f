"""Runs `hooks/update.py` in this process, which has imported Copier and renders quickly."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import copier
import pytest
from plumbum import local
from updating import CURRENT, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

Report = dict[str, Any]
"""What `update.py --json` says of a project."""


@functools.cache
def script() -> ModuleType:
    """Import the script without its cloning, because Copier has its own clones in these tests."""
    spec = importlib.util.spec_from_file_location("update_script", ROOT / "hooks" / "update.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    module.__dict__["clone"] = lambda project, _: Path(project.recorded("_src_path"))
    return module


def update(
    project: Path, data: Mapping[str, Any] | None = None, ref: str = CURRENT, *words: str
) -> Report:
    """Update a project with `update.py`.

    Args:
        project: Its folder, committed.
        data: Answers to change.
        ref: The release to update to.
        *words: More options.

    Returns:
        The report; `is_good` tells whether the exit code was 0.
    """
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (data or {}).items()}
    answers = [f"--data={name}={value}" for name, value in given.items()]
    code, printed = run(str(project), "--json", "-r", ref, *answers, *words)
    (report,) = json.loads(printed)
    return {**report, "is_good": code == 0}


def run(*words: str) -> tuple[int, str]:
    """Run the script; return its exit code and output."""
    module, printed, before = script(), io.StringIO(), dict(os.environ)
    run_copy = copier.run_copy
    handlers = {one: signal.getsignal(one) for one in module.interruptions()}

    def render(*arguments: Any, **options: Any) -> Any:
        # Copier runs git with the environment that plumbum has read on import.
        with local.env():
            local.env.clear()
            local.env.update(os.environ)
            return run_copy(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", ["update.py", *words])
        patch.setattr(copier, "run_copy", render)
        patch.setattr(module, "USERS", before)
        try:
            return module.main(), printed.getvalue()
        finally:
            os.environ.clear()
            os.environ.update(before)
            for one, handler in handlers.items():
                signal.signal(one, handler)
