"""A container engine for the tests: Docker if it runs, otherwise podman with stand-in images.

Without Docker, podman serves Docker's client and Compose. Images that would come from a registry
are built from Debian packages (`stand_ins/`), with the same major versions of Python, PostgreSQL
and Redis. They are kept in `CACHE`, which may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import child_processes
import projects
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "copier-prefect-tests"
STAND_INS = Path(__file__).parent / "stand_ins"
DOCKERFILES = sorted((projects.ROOT / "template").rglob("Dockerfile.jinja"))
PACKAGES = "catatonit conmon debootstrap iptables netavark aardvark-dns podman runc uidmap"
"""Debian packages that replace Docker."""

PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4000:4000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
helper_binaries_dir = ["HELPERS", "/usr/lib/podman", "/usr/libexec/podman", "/usr/bin"]
[network]
network_backend = "netavark"
"""
"""Settings with which podman also works as root within a container."""

DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


@functools.cache
def compose() -> Path:
    """Return the program Docker Compose: the client's plugin, or Debian's from `CACHE`.

    To read a compose file, neither client nor engine is needed, so the gate can do it anywhere.
    """
    folders = [Path.home() / ".docker", "/usr/local/lib/docker", "/usr/local/libexec/docker"]
    for folder in [*folders, "/usr/lib/docker", "/usr/libexec/docker"]:
        plugin = Path(folder) / "cli-plugins" / "docker-compose"
        if plugin.is_file():
            return plugin
    kept = CACHE / "docker-compose"
    if not kept.is_file():
        _fetch_compose(kept)
    return kept


def _fetch_compose(target: Path) -> None:
    """Take Compose from Debian's next release, without changing the system's apt."""
    if shutil.which("apt-get") is None:
        pytest.fail("There is no Docker Compose on this machine: install Docker's plugin.")
    CACHE.mkdir(parents=True, exist_ok=True)
    here = CACHE.parent
    found = projects.run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", cwd=here
    )
    mirror = next((uri for uri in found.split() if uri.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        pytest.fail("There is no Docker Compose on this machine: install Docker's plugin.")
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "sources.list").write_text(
            f"deb [signed-by={DEBIAN_KEYS}] {mirror} trixie main\n"
        )
        settings = {
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        projects.run("apt-get", *options, "-qq", "update", cwd=folder)
        projects.run("apt-get", *options, "-qq", "download", "docker-compose", cwd=folder)
        projects.run("dpkg", "-x", next(folder.glob("*.deb")), "out", cwd=folder)
        # Moved in one step, so that tests running at the same time see all of it or nothing.
        next(folder.glob("out/usr/libexec/docker/cli-plugins/*")).rename(target)


class Engine:
    """A container engine, used with Docker's client."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def docker(self, *words: str | Path, cwd: Path = Path("/"), check: bool = True) -> str:
        """Run a command of Docker's client and return its output."""
        return projects.run("docker", *words, cwd=cwd, check=check, **self.env)

    def shell(self, command: str, cwd: Path) -> str:
        """Run a command from a document."""
        return projects.run("bash", "-euc", command, cwd=cwd, **self.env)

    def python(self, image: str, code: str) -> str:
        """Run Python in an image, as the image's user, and return its output."""
        return self.docker("run", "--rm", image, "python", "-c", code).strip()


@contextlib.contextmanager
def start(folder: Path) -> Iterator[Engine]:
    """Use the machine's Docker, or start podman instead.

    Args:
        folder: An empty folder for the engine's files.

    Yields:
        The engine.
    """
    plugins = folder / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(compose())
    client = {"DOCKER_CONFIG": str(plugins.parent)}
    if shutil.which("docker") is None:
        pytest.fail("These tests need Docker's client: apt-get install docker.io, or docker-cli.")
    if _quiet("docker", "info"):
        yield Engine(client)
        return
    missing = [name for name in ("podman", "debootstrap", "runc") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.fail(f"No Docker runs here. As root: apt-get install {PACKAGES}")
    with _podman(folder) as env:
        # podman has no BuildKit, which Docker's client uses by default.
        yield Engine({**client, **env, "DOCKER_BUILDKIT": "0"})


@contextlib.contextmanager
def _podman(folder: Path) -> Iterator[dict[str, str]]:
    """Serve Docker's API with podman, and finally remove everything except stand-in images."""
    home = CACHE / "podman"
    home.mkdir(parents=True, exist_ok=True)
    helpers = folder / "helpers"
    helpers.mkdir()
    # One at a time: containers that join a network at the same time lose each other's names.
    netavark = shutil.which("netavark", path="/usr/lib/podman:/usr/libexec/podman:/usr/bin")
    script = f'#!/bin/sh\nexec flock --close "{helpers}/lock" {netavark} "$@"\n'
    (helpers / "netavark").write_text(script)
    (helpers / "netavark").chmod(0o755)
    (folder / "containers.conf").write_text(PODMAN.replace("HELPERS", str(helpers)))
    (folder / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\n')
    # podman remembers this path, so it must not survive a restart of the machine.
    run = f"/tmp/{projects.ROOT.name}-podman"
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{home / "storage"}"\nrunroot = "{run}"\n'
    )
    podman = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
    }
    address = f"unix://{folder}/podman.sock"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = _stand_ins(podman, home)
        log = (folder / "podman.log").open("w")
        words = ["podman", "system", "service", "--time=0", address]
        service = child_processes.start(
            words, env=projects.clean_environment(**podman), stdout=log, stderr=log
        )
        stop = threading.Event()
        health = threading.Thread(target=_check_health, args=(podman, stop))
        health.start()
        try:
            deadline = time.monotonic() + 120
            while not _quiet("docker", "info", DOCKER_HOST=address):
                assert time.monotonic() < deadline, (folder / "podman.log").read_text()
                time.sleep(0.2)
            yield {"DOCKER_HOST": address}
        finally:
            stop.set()
            health.join()
            child_processes.stop(service)
            log.close()
            _clean(podman, kept)


def _check_health(podman: dict[str, str], stop: threading.Event) -> None:
    """Run the health checks, which podman leaves to systemd's timers."""
    while not stop.wait(2):
        listed = projects.run("podman", "ps", "--quiet", cwd=Path("/"), check=False, **podman)
        for container in listed.split():
            _quiet("podman", "healthcheck", "run", container, **podman)


def _clean(podman: dict[str, str], kept: set[str]) -> None:
    def ids(*words: str) -> list[str]:
        return projects.run("podman", *words, cwd=Path("/"), **podman).split()

    _quiet("podman", "rm", "--all", "--force", "--volumes", "--time", "0", **podman)
    _quiet("podman", "volume", "prune", "--force", **podman)
    _quiet("podman", "network", "prune", "--force", **podman)
    others = set(ids("images", "--all", "--quiet", "--no-trunc")) - kept
    if others:
        _quiet("podman", "rmi", "--force", *others, **podman)


def _quiet(*words: str, **env: str) -> bool:
    done = subprocess.run(
        words, env=projects.clean_environment(**env), capture_output=True, check=False, timeout=300
    )
    return done.returncode == 0


def _stand_ins(podman: dict[str, str], home: Path) -> set[str]:
    """Build missing images that the generated files name; return the ids of all."""

    def run(*words: str | Path, cwd: Path = Path("/")) -> str:
        return projects.run(*words, cwd=cwd, **podman)

    text = "\n".join(path.read_text() for path in DOCKERFILES)
    (uv,) = set(re.findall(r"^FROM ghcr.io/astral-sh/uv:(\S+)", text, re.MULTILINE))
    (python,) = set(re.findall(r"^ARG PYTHON_VERSION=(\S+)", text, re.MULTILINE))
    sources = sorted(path for path in STAND_INS.rglob("*") if path.is_file())
    parts = [uv, python, inspect.getsource(_make_python), *(path.read_text() for path in sources)]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()
    made = home / "made"
    if made.is_file():
        known, *ids = made.read_text().split()
        if known == digest:
            _clean(podman, set(ids))
            return set(ids)
    _clean(podman, set())
    with tempfile.TemporaryDirectory(dir=home) as folder:
        base = f"docker.io/library/python:{python}-slim-trixie"
        _make_python(run, Path(folder) / "root", base, python)
        context = Path(shutil.copytree(STAND_INS / "uv", Path(folder) / "uv"))
        run("uv", "pip", "install", "-q", f"uv=={uv}", "--target", "wheel", cwd=context)
        for name in ("uv", "uvx"):
            shutil.copy(context / "wheel" / "bin" / name, context)
        run("podman", "build", "-q", "-t", f"ghcr.io/astral-sh/uv:{uv}", context)
    for name in ("postgres:17", "redis:8"):
        context = STAND_INS / name.partition(":")[0]
        tag = f"docker.io/library/{name}"
        run("podman", "build", "-q", "--network=host", "-t", tag, context)
    # Including their layers.
    ids = run("podman", "images", "--all", "--quiet", "--no-trunc").split()
    made.write_text("\n".join([digest, *ids]))
    return set(ids)


def _make_python(run: Callable[..., str], root: Path, name: str, version: str) -> None:
    """Build the base image: Debian's smallest system with Python, named like Docker's image."""
    include = "--include=ca-certificates,netbase,python3"
    run("debootstrap", "--variant=minbase", include, "trixie", root)
    assert (root / "usr" / "bin" / f"python{version}").is_file(), "Debian has another Python"
    for link in ("python", "python3"):
        (root / "usr" / "local" / "bin" / link).symlink_to(f"/usr/bin/python{version}")
    for waste in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / waste)
    # This machine may use a proxy with its own certificate.
    bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")
    run("tar", "-C", root, "-cf", root.with_suffix(".tar"), ".")
    changes = [
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        'CMD ["python3"]',
    ]
    options = [word for change in changes for word in ("--change", change)]
    run("podman", "import", "-q", *options, root.with_suffix(".tar"), name)
