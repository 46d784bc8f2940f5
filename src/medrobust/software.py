"""Which software gave a number: versions, commit, platform."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import medrobust

_PACKAGES = ("torch", "monai", "lightning", "numpy", "scipy", "pandas", "pillow", "safetensors")


def software() -> dict[str, Any]:
    """Versions of everything that could change a number, and the threads in use."""
    import torch

    revision, dirty = commit()
    return {
        "medrobust": medrobust.__version__,
        "commit": revision,
        "dirty": dirty,
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def commit() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the code in use; None where it is not a checkout."""
    if os.environ.get("MEDROBUST_COMMIT"):  # for a copy of the code without its history
        return os.environ["MEDROBUST_COMMIT"], None
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None, None
    try:
        revision = _git(source, "rev-parse", "HEAD")
        dirty = bool(_git(source, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return revision, dirty


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
