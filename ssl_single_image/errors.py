"""What ends a run with one line for people. Imports nothing heavy, so that a command can refuse at once."""

import errno
import os


class InputError(ValueError):
    """Something the user gave is wrong: a file, a field, a flag.

    The message is one line that says what is wrong, where, and what to do. The command line prints it
    and exits with status 2; library callers may catch it as the `ValueError` it is.
    """


class Halted(Exception):  # noqa: N818 (it need not be an error: a run asked to stop does so)
    """A run ended in good order before it was complete. The command line prints this and exits with `status`."""

    lost = False
    """Whether another process of the run is gone, so that nothing may wait for it."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def disk_is_full(error: BaseException) -> bool:
    """Whether this is why something could not be written; some libraries tell it in their text alone."""
    return getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)
