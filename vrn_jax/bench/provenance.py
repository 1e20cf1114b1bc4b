"""What belongs to every measurement: when, of which commit, on what, by which command."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax

__all__ = ["provenance"]


def provenance(command: str, packages: tuple[str, ...]) -> dict:
    """Date, commit, machine and versions, to be written beside the numbers."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "packages": versions,
    }
