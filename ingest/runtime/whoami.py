"""Who runs this process, as records say it."""

import getpass
import os
import socket


def whoami() -> str:
    """Return user@host; a user without a name, as in a container, by number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
