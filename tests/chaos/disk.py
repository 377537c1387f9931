"""Disks that fill up: each broker's data on a file system in memory whose size is changed under it.

The mounts are made in a mount namespace of this process and its children: they end with the last of
them, also after a `kill -9`. That takes root.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

_ROOM = "2g"
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of unshare(2), which Python has from 3.12 on
_ENOUGH_TRIES = 50
_PAGE = 4096


def lacks() -> str:
    """Return why there are no such disks here; nothing where they can be had."""
    # Root in a container may not be allowed to.
    try:
        tried = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return "unshare"
    return "" if tried.returncode == 0 else "the right to mount, which root has"


def own_mounts() -> None:
    """Let no mount that is made from here on be seen outside; call it before there are threads."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        number = ctypes.get_errno()
        raise OSError(number, f"no mount namespace: {os.strerror(number)}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount(folder: Path) -> None:
    """Put an empty disk on a folder; it takes memory for what is in it only."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "chaos", folder], check=True)


def unmount(folder: Path) -> None:
    """Take it away, with all that is on it."""
    subprocess.run(["umount", "--lazy", folder], check=False)


def fill(folder: Path) -> None:
    """Let the disk be as large as what is on it, to the page."""
    for _ in range(_ENOUGH_TRIES):
        # Refused where something was written since.
        used = shutil.disk_usage(folder).used
        if _resize(folder, str(max(_PAGE, used))):
            return
    raise RuntimeError(f"{folder} grew faster than it could be filled")


def empty(folder: Path) -> None:
    """Give it room again."""
    if not _resize(folder, _ROOM):
        raise RuntimeError(f"{folder} has no room again")


def _resize(folder: Path, size: str) -> bool:
    words = ["mount", "-o", f"remount,size={size}", str(folder)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0
