"""Compare the import of a generated package with `import prefect`, for each kind.

    uv run benchmarks/imports.py [--times 9]

Renders each kind, synchronises it and starts its Python for each measurement. `package` is the cost
of a user's `import`, `flows` that of a worker before it runs a flow.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

import measure

MODULES = {
    "pipeline": ("my_data_project", "my_data_project.flows.ingestion_flow"),
    "library": ("my_task_library", "my_task_library.data"),
    "plugin": ("prefect_my_system", "prefect_my_system.blocks"),
}


def main() -> None:
    """Measure the imports of each kind, alternating with Prefect's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="rounds that count")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = measure.template(folder)
        for kind, modules in MODULES.items():
            project = folder / kind
            options = ("-q", "--defaults", "-d", f"project_kind={kind}")
            measure.run("copier", "copy", *options, ours, project, cwd=folder)
            measure.run("uv", "sync", "-q", "--compile-bytecode", cwd=project)
            python = project / ".venv" / "bin" / "python"
            sides = {
                code: functools.partial(measure.run, python, "-c", code, cwd=project)
                for code in ("import prefect", "pass", *(f"import {name}" for name in modules))
            }
            print(kind)
            measure.tell(measure.in_turns(sides, times), "import prefect")


if __name__ == "__main__":
    main()
