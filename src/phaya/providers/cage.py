"""Takes limits upon itself and then becomes another program: `cage.py LIMITS PROGRAM ARGUMENT…`.

A script of the standard library alone, started by `child.run_child`. The limits are set here and not in a
function between fork and exec, because only a fresh process may run Python there: in the server other threads
may hold any lock at that moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_DESCRIPTORS = 65_536


def _limit(what: int, amount: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        amount = min(amount, most)
    resource.setrlimit(what, (amount, amount))


def _confine(limits: dict[str, int]) -> None:
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"])
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 256)
    os.nice(limits["nice"])
    os.closerange(3, _DESCRIPTORS)  # uvloop leaves inheritable ones open (0.23, November 2026)
    # Python ignores these two, and what is ignored stays so in the next program: it would not end by them.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if sys.platform == "linux":  # macOS knows neither
        _limit(resource.RLIMIT_AS, limits["memory_bytes"])
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != limits["parent"]:  # it died before the line above was reached
        sys.exit(125)


def main() -> None:
    """Confines this process and replaces it. Ends with 125..127 where that fails, as shells and `env` do."""
    limits, *command = sys.argv[1:]
    _confine(json.loads(limits))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
