"""The gate itself: on a new machine, in the background, and killed in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import answer_sets
import child_processes
import environments
import projects
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
FUTURE = "3.99"
"""A Python that no machine has, so that one made for a test is the one that is found."""

SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"
INTERPRETER = f'#!/bin/sh\necho "{FUTURE} $0"\n'


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str | None]:
    """Find the Python with some folders at the beginning of PATH, and another HOME."""
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found(*folders: Path) -> str | None:
        words = [*map(str, folders), os.environ["PATH"]]
        monkeypatch.setenv("PATH", os.pathsep.join(words))
        return environments.find_python.__wrapped__(FUTURE)

    return found


def test_a_shim_that_fails_is_no_interpreter(
    find: Callable[..., str | None], tmp_path: Path
) -> None:
    program(tmp_path / "shims" / f"python{FUTURE}", SHIM)
    assert find(tmp_path / "shims") is None
    other = program(tmp_path / "bin" / f"python{FUTURE}", INTERPRETER)
    assert find(tmp_path / "shims", tmp_path / "bin") == str(other)


def test_pyenv_is_found_by_its_shims(find: Callable[..., str | None], tmp_path: Path) -> None:
    """Its versions need not be active or in HOME."""
    program(tmp_path / "pyenv" / "shims" / f"python{FUTURE}", SHIM)
    versions = tmp_path / "pyenv" / "versions"
    made = [
        program(versions / f"{FUTURE}.{patch}" / "bin" / "python", INTERPRETER) for patch in (9, 10)
    ]
    assert find(tmp_path / "pyenv" / "shims") == str(made[1])
    made[1].write_text(SHIM)
    assert find() == str(made[0])


def test_a_python_that_is_missing_is_a_reason_to_skip() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"there is no Python 3\.99 on this machine"):
        environments.require_python(FUTURE)


def test_uv_finds_what_no_shim_starts(tmp_path: Path) -> None:
    program(tmp_path / "shims" / f"python{VERSION}", SHIM)
    which = ("python", "-c", "import os; print(os.environ['UV'])")
    uv = projects.run("uv", "run", "-q", "--no-project", *which, cwd=tmp_path).strip()
    words = (uv, "python", "find", "--no-project", VERSION)
    said = projects.run(*words, cwd=tmp_path, check=False, PATH=str(tmp_path / "shims"))
    assert "127" in said
    environments.link_pythons(tmp_path / "pythons")
    path = os.pathsep.join(map(str, (tmp_path / "pythons", tmp_path / "shims")))
    assert environments.try_python(projects.run(*words, cwd=tmp_path, PATH=path).strip(), VERSION)


@pytest.mark.parametrize("version", answer_sets.PYTHONS)
def test_uv_finds_each_python_in_every_test(version: str, tmp_path: Path) -> None:
    environments.require_python(version)
    found = projects.run("uv", "python", "find", "--no-project", version, cwd=tmp_path).strip()
    assert environments.try_python(found, version)


def test_children_of_a_run_in_the_background_get_default_signals() -> None:
    """`nohup … &` and CI systems ignore interrupts, which Prefect's worker needs to end."""
    child = "import signal; print([signal.getsignal(one) for one in (2, 3, 15)])"
    lines = [
        "import child_processes, signal, subprocess, sys",
        "ignored = [signal.getsignal(one) == signal.SIG_IGN for one in (2, 3, 15)]",
        f"command = [sys.executable, '-c', {child!r}]",
        "child_processes.start(command).wait(60)",
        "subprocess.run(command, timeout=60)",
        "print(ignored)",
    ]
    script = f"trap '' INT QUIT TERM; exec {sys.executable} -u -c \"$0\""
    printed = projects.run(
        *("bash", "-c", script, "\n".join(lines)),
        cwd=Path("/"),
        PYTHONPATH=str(Path(child_processes.__file__).parent),
    )
    *children, ignored = printed.splitlines()
    assert ignored == "[True, True, True]"
    assert len(children) == 2
    for line in children:
        assert "default_int_handler" in line
        assert line.count("Handlers.SIG_DFL") == 2


IGNORE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
STUBBORN = f"""
import subprocess, sys
{IGNORE}
child = [sys.executable, "-c", {IGNORE + "print('here', flush=True); time.sleep(600)"!r}]
print(subprocess.Popen(child).pid, flush=True)
time.sleep(600)
"""


def test_what_does_not_end_is_killed_with_its_children() -> None:
    pipe = subprocess.PIPE
    process = child_processes.start([sys.executable, "-c", STUBBORN], stdout=pipe, text=True)
    with process.stdout:
        pid, here = int(process.stdout.readline()), process.stdout.readline()
    assert here == "here\n"
    child_processes.stop(process, 0.2)
    assert process.returncode == -signal.SIGKILL
    assert projects.gone(pid)


def test_a_command_that_does_not_end_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if only a child is left that keeps its output open."""
    monkeypatch.setattr(projects, "RUN_SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"(?s)longer than 1 s:\nhere"):
        projects.run("sh", "-c", "sleep 600 & echo here", cwd=Path("/"))
    assert time.monotonic() - began < 30


HANGS = """
import os
import subprocess
import time
from pathlib import Path

import child_processes

SLEEP = ["sleep", "600"]


def test_hangs():
    env = {"PATH": os.environ["PATH"]}
    started = [
        child_processes.start(SLEEP, env=env),
        subprocess.Popen(SLEEP),
        subprocess.Popen(SLEEP, start_new_session=True),
    ]
    file = Path("pids.new")
    file.write_text(" ".join(str(process.pid) for process in started))
    file.rename("pids")
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what others run with")
@pytest.mark.parametrize("way", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_nothing_outlives_a_run_that_is_broken_off(way: str, tmp_path: Path) -> None:
    configure = "import child_processes\n\n\ndef pytest_configure():\n    "
    (tmp_path / "conftest.py").write_text(f"{configure}child_processes.take_charge()\n")
    (tmp_path / "test_hangs.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    env = projects.clean_environment(PYTHONPATH=str(Path(child_processes.__file__).parent))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    log = (tmp_path / "log").open("wb")
    with log, child_processes.running(command, cwd=tmp_path, env=env, stdout=log) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        process.send_signal(getattr(signal, way))
        process.wait(60)
        assert len(pids) == 3
        assert all(projects.gone(pid) for pid in pids)


@pytest.mark.parametrize(
    ("readme", "code", "printed"),
    [
        ("echo tested", 0, "tested"),
        ("true && false", 1, "+ true && false"),
        ("false && true", 1, "+ false && true"),
        (None, 1, 'README.md names no command for "tests" any more.'),
    ],
)
def test_ci_fails_when_a_test_does(
    readme: str | None, code: int, printed: str, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(projects.ROOT / ".ci" / "run", tmp_path / ".ci")
    mark = f"<!-- test: tests -->\n```bash\n{readme}\n```\n" if readme else ""
    setting = "<!-- test: debian -->\n```bash\nexport SET=1\n```\n"
    (tmp_path / "README.md").write_text(f"# Title\n\n{setting}\n{mark}\nMore.\n")
    # It installs nothing here.
    program(tmp_path / "bin" / "pg_ctl", "#!/bin/sh\n")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = '.ci/run; echo "exit $?"'
    shown = projects.run("bash", "-c", script, cwd=tmp_path, PATH=path)
    assert printed in shown
    assert shown.endswith(f"exit {code}\n")
