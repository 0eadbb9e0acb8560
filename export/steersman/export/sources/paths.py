"""Looking at the file system: what cannot be looked at is not there, as for anybody who is not let in."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is a file that can be seen."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder that can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Whether there is anything that can be seen."""
    try:
        return path.exists()
    except OSError:
        return False


def folders_in(path: Path) -> list[Path]:
    """Folders directly in a folder, sorted; none where it cannot be listed."""
    try:
        return sorted(folder for folder in path.iterdir() if is_folder(folder))
    except OSError:
        return []
