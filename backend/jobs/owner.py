"""Who holds a lease, and whether that process is known to be dead."""

import os
import socket
import uuid

_SEPARATOR = "/"


def new_owner() -> str:
    """A name for a worker of this process: host name, process id, and what makes it unique."""
    return _SEPARATOR.join((socket.gethostname(), str(os.getpid()), uuid.uuid4().hex))


def is_dead(owner: str) -> bool:
    """Whether an owner ran on this machine and does so no more, to be asked at a start.

    A process with our own id is an earlier one: containers number theirs alike.
    """
    hostname, _, rest = owner.rpartition(_SEPARATOR)[0].rpartition(_SEPARATOR)
    # Elsewhere, asking whether a process lives would end it.
    if hostname != socket.gethostname() or os.name != "posix" or not rest.isdigit():
        return False
    if int(rest) == os.getpid():
        return True
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, as another user
        return False
    return False
