"""Takes limits upon itself and then becomes another program: `cage.py LIMITS PROGRAM ARGUMENT…`.

A script of the standard library alone, started by `child.run_child`; a program of ours that has loaded all that it
needs calls `confine` itself. The limits are set here and not in a function between fork and exec, because only a fresh
process may run Python there: in the server other threads may hold any lock at that moment.

On Linux two walls of the kernel stand around the program, which need no privilege and cannot be taken down from
inside: Landlock (files, TCP ports, signals; Linux 5.13, 6.7, 6.12) and a seccomp filter (sockets, new processes, and
calls that no converter of films makes). Where a kernel knows one of them not, the other stands alone.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_DESCRIPTORS = 65_536

# Landlock's calls have the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_CONNECT = 1 << 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# What each version of Landlock can rule over: files, ports, and reaching out to processes outside.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_PORTS, _SCOPES = 0b11, 0b11

# What any program needs to be loaded and to know the time. A path that is not there is none to open.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives",
           "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero", "/sys/devices/system/cpu")  # fmt: skip

_CALLS = {  # numbers of Linux's system calls, which differ by architecture
    "x86_64": (
        0xC000003E,
        {"socket": 41, "clone": 56, "fork": 57, "vfork": 58, "ptrace": 101, "setpgid": 109, "setsid": 112,
         "pivot_root": 155, "chroot": 161, "mount": 165, "add_key": 248, "request_key": 249, "keyctl": 250,
         "unshare": 272, "perf_event_open": 298, "prlimit64": 302, "setns": 308, "process_vm_readv": 310,
         "process_vm_writev": 311, "bpf": 321, "userfaultfd": 323, "chmod": 90, "fchmod": 91, "chown": 92,
         "fchown": 93, "lchown": 94, "utime": 132, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "utimes": 235,
         "fchownat": 260, "futimesat": 261, "fchmodat": 268, "utimensat": 280},
    ),
    "aarch64": (
        0xC00000B7,
        {"socket": 198, "clone": 220, "ptrace": 117, "setpgid": 154, "setsid": 157, "pivot_root": 41, "chroot": 51,
         "mount": 40, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97, "perf_event_open": 241,
         "prlimit64": 261, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280,
         "userfaultfd": 282, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "fchmod": 52, "fchmodat": 53,
         "fchownat": 54, "fchown": 55, "utimensat": 88},
    ),
}  # fmt: skip
_EVERYWHERE = {"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_getfd": 438,
               "clone3": 435, "fchmodat2": 452, "setxattrat": 463}  # fmt: skip
# io_uring opens sockets past any filter; a session or group of its own would escape the signal that ends the group.
_NEVER = ("ptrace", "setpgid", "setsid", "pivot_root", "chroot", "mount", "add_key", "request_key", "keyctl", "unshare",
          "perf_event_open", "setns", "process_vm_readv", "process_vm_writev", "bpf", "userfaultfd", "io_uring_setup",
          "open_tree", "move_mount", "fsopen", "pidfd_getfd")  # fmt: skip
# Landlock rules none of these, and they reach any file of our user. What starts no other program needs none of them.
_NEVER_ALONE = ("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
                "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat")  # fmt: skip
_CLONE_THREAD = 0x10000
_X32 = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _BITS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # places in the kernel's `struct seccomp_data`, little-endian


def _limit(what: int, amount: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        amount = min(amount, most)
    resource.setrlimit(what, (amount, amount))


def _step_back(nice: int) -> None:
    """Lets others have the processor first.

    Where no container or service manager has grouped the processes, Linux shares the processor out among sessions, and
    looks at niceness only within one: see sched(7), "The autogroup feature". We are a session of our own, so it is made
    nice as well.
    """
    os.nice(nice)
    for _ in range(2):
        try:
            with open("/proc/self/autogroup", "w") as session:  # noqa: PTH123 - pathlib is long to load
                session.write(str(nice))
        except BlockingIOError:
            time.sleep(0.1)  # it is taken ten times a second, on the whole machine
        except OSError:
            return  # there is no such thing here
        else:
            return


def confine(limits: dict[str, Any]) -> None:
    """Takes the limits upon this process for good. With no `folder` it opens nothing at all from now on."""
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"])
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 256)
    _step_back(limits["nice"])
    os.closerange(3, _DESCRIPTORS)  # uvloop leaves inheritable ones open (0.23, November 2026)
    # Python ignores these two, and what is ignored stays so in the next program: it would not end by them.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if sys.platform != "linux":  # macOS knows none of what follows
        _leave_an_orphan(limits["parent"])
        return
    _limit(resource.RLIMIT_AS, limits["memory_bytes"])
    if limits["forks"]:  # who may not is stopped by the filter
        # The kernel counts every thread of this user, and binds nobody who may exceed the limit, such as root.
        _limit(resource.RLIMIT_NPROC, _threads_of_this_user() + limits["processes"])
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _leave_an_orphan(limits["parent"])
    _fence(kernel, limits)
    _filter(kernel, limits)


def _leave_an_orphan(parent: int) -> None:
    if os.getppid() != parent:  # it died before it could take us along
        sys.exit(125)


def _threads_of_this_user() -> int:
    count, user = 0, os.getuid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - the import of pathlib takes longer than all of this
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:  # noqa: PTH116 - as above
                    count += os.stat(f"/proc/{name}/task").st_nlink - 2  # noqa: PTH116 - as above
            except OSError:  # it ended
                continue
    return count


def _fence(kernel: ctypes.CDLL, limits: dict[str, Any]) -> None:
    """Landlock: files but those that are named cannot be opened, ports but those cannot be connected."""
    call = kernel.syscall
    call.restype = ctypes.c_long
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return
    files = _FILES.get(version, _FILES[5])
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = call(_CREATE_RULESET, struct.pack("<QQQ", files, _PORTS, _SCOPES)[:size], ctypes.c_size_t(size), 0)
    _check(ruleset, "landlock_create_ruleset")
    paths: dict[str, int] = {}
    if limits["folder"] is not None:
        paths = dict.fromkeys((*_SYSTEM, *limits["reads"]), _READ)
        paths |= {limits["folder"]: _WRITE, "/dev/null": _READ_FILE | _WRITE_FILE}
    for path, rights in paths.items():
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        rule = struct.pack("<Qi", rights & files, place)
        _check(call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"landlock_add_rule for {path}")
        os.close(place)
    for port in limits["ports"] if version >= 4 else ():
        _check(call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("<QQ", _CONNECT, port), 0), "landlock_add_rule")
    _check(call(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _check(result: int, what: str) -> None:
    if result < 0:
        sys.stderr.write(f"{what}: {os.strerror(ctypes.get_errno())}\n")
        sys.exit(125)


def _filter(kernel: ctypes.CDLL, limits: dict[str, Any]) -> None:
    """seccomp: no socket where no port is named, no second process where none is allowed."""
    known = _CALLS.get(platform.machine())
    if known is None or sys.byteorder != "little":
        return
    architecture, numbers = known
    program = b"".join(_program(architecture, numbers | _EVERYWHERE, limits))
    buffer = ctypes.create_string_buffer(program)
    # struct sock_fprog: the number of instructions, and where they are
    counted = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    if kernel.prctl(_PR_SET_SECCOMP, 2, counted, 0, 0) < 0 and ctypes.get_errno() != errno.EINVAL:
        _check(-1, "seccomp")  # EINVAL: a kernel that was built without it


def _program(architecture: int, numbers: dict[str, int], limits: dict[str, Any]) -> Iterator[bytes]:
    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    def where(name: str, *body: bytes) -> bytes:
        """Instructions for one call, if this architecture has it; each is eight bytes."""
        steps = b"".join(body)
        return step(_EQUAL, numbers[name], 0, len(steps) // 8) + steps if name in numbers else b""

    refused, allowed = step(_RETURN, _ERROR | errno.EACCES), step(_RETURN, _ALLOW)
    again = step(_LOAD, _NUMBER)
    yield step(_LOAD, _ARCHITECTURE) + step(_EQUAL, architecture, 1, 0) + step(_RETURN, _KILL)
    yield again + step(_AT_LEAST, _X32, 0, 1) + step(_RETURN, _KILL)
    for name in _NEVER if limits["forks"] else (*_NEVER, *_NEVER_ALONE):
        yield where(name, refused)
    # Threads are made by `clone`, whose flags can be read here; those of `clone3` cannot, and libraries do without it.
    yield where("clone3", step(_RETURN, _ERROR | errno.ENOSYS))
    if not limits["forks"]:
        yield where("fork", refused) + where("vfork", refused)
        yield where("clone", step(_LOAD, _FIRST), step(_BITS, _CLONE_THREAD, 1, 0), refused, again)
    # Limits of itself only: others are those of every process of the same user.
    yield where("prlimit64", step(_LOAD, _FIRST), step(_EQUAL, 0, 1, 0), refused, again)
    if not limits["ports"]:
        yield where("socket", refused)
    else:  # TCP, and UDP where names are to be looked up; none of this machine's own, for Landlock knows no such
        family = (step(_LOAD, _FIRST), step(_EQUAL, socket.AF_INET, 2, 0), step(_EQUAL, socket.AF_INET6, 1, 0), refused)
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if limits["datagrams"] else (socket.SOCK_STREAM,)
        admitted = (step(_EQUAL, kind, 0, 1) + allowed for kind in kinds)
        yield where("socket", *family, step(_LOAD, _SECOND), step(_AND, 0xF), *admitted, refused)
    yield allowed


def main() -> None:
    """Confines this process and replaces it. Ends with 125..127 where that fails, as shells and `env` do."""
    limits, *command = sys.argv[1:]
    confine(json.loads(limits))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
