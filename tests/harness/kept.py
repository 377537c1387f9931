"""Where a run's files go: away with a good one, and kept where it failed."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


def in_a_folder(
    prefix: str, work: Callable[[Path], Coroutine[Any, Any, int]], *, keep: bool = False
) -> int:
    """Do some work in a folder of its own and return its exit code.

    Args:
        prefix: of the folder's name.
        work: what is done there.
        keep: whether the folder stays in any case.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    code = 1
    try:
        code = asyncio.run(work(folder))
    finally:
        if code or keep:
            print(f"logs are kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code
