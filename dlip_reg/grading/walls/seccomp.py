"""A seccomp filter: which system calls a child may make, from here on and for ever.

What is refused: new processes and programs, sockets, signals to and looks into other processes,
namespaces and mounts, memory and objects that outlive the process or escape its limits, and every
door into the kernel that no submission needs. Calls that change a file's owner, mode, times or
attributes do nothing and report success: Landlock does not cover them, and `shutil` makes them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from dlip_reg.grading.walls.syscalls import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECCOMP,
    architecture,
    prctl,
)

# name: (x86-64, aarch64); None where the machine has no such call
_REFUSED = {
    # new processes and programs (clone is below)
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # sockets: none but the one that is open already
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # by its name, any file: Landlock looks at this from its third version on
    "truncate": (76, 45),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "get_robust_list": (274, 100),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # memory and objects that no limit counts or that outlive the process
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mlock": (149, 228),
    "mlock2": (325, 284),
    "mlockall": (151, 230),
    # doors into the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "vhangup": (153, 58),
}
_PRETENDED = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_FCNTL, _IOCTL, _PRCTL = (72, 25), (16, 29), (157, 167)
_CLONE_THREAD = 0x10000
# The first argument must name this process (or 0, itself, in the second list).
_OWN = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
_OWN_OR_ZERO = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
# A value of the second argument (fcntl, ioctl) or of the first (prctl) that is refused: signals
# through a file's owner, keys pressed for a terminal, outliving the grader.
_REFUSED_VALUES = (
    (_FCNTL, 1, (8, 15)),  # F_SETOWN, F_SETOWN_EX
    (_IOCTL, 1, (0x8901, 0x8902, 0x5412)),  # FIOSETOWN, SIOCSPGRP, TIOCSTI
    (_PRCTL, 0, (PR_SET_PDEATHSIG, 4)),  # and PR_SET_DUMPABLE, which hides from the warden
)

_AUDIT = (0xC000003E, 0xC00000B7)
_LOAD, _EQUAL, _GREATER_EQUAL, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_FILTER_MODE = 2
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _argument(index: int) -> bytes:
    """Loads the low half of an argument; pids, commands and flags are 32-bit for the kernel too."""
    return _statement(_LOAD, _ARGUMENTS_AT + 8 * index)


def _program(machine: int, own: int) -> bytes:
    refuse = _statement(_RETURN, _ERROR | errno.EPERM)
    allow = _statement(_RETURN, _ALLOW)
    parts = [
        _statement(_LOAD, _MACHINE_AT),
        _statement(_EQUAL, _AUDIT[machine], 1, 0),
        _statement(_RETURN, _KILL),
        _statement(_LOAD, _NUMBER_AT),
        # x86-64's second numbering (x32) would pass by every rule below
        _statement(_GREATER_EQUAL, 0x40000000, 0, 1),
        refuse,
    ]

    def rule(numbers: tuple[int | None, int | None], *answer: bytes) -> None:
        if numbers[machine] is not None:
            parts.append(_statement(_EQUAL, numbers[machine], 0, len(answer)))
            parts.extend(answer)

    for numbers in _REFUSED.values():
        rule(numbers, refuse)
    for numbers in _PRETENDED.values():
        rule(numbers, _statement(_RETURN, _ERROR))
    rule(_CLONE3, _statement(_RETURN, _ERROR | errno.ENOSYS))  # libc then takes clone
    rule(_CLONE, _argument(0), _statement(_SET, _CLONE_THREAD, 1, 0), refuse, allow)
    for numbers in _OWN.values():
        rule(numbers, _argument(0), _statement(_EQUAL, own, 1, 0), refuse, allow)
    for numbers in _OWN_OR_ZERO.values():
        rule(
            numbers,
            _argument(0),
            _statement(_EQUAL, own, 2, 0),
            _statement(_EQUAL, 0, 1, 0),
            refuse,
            allow,
        )
    for numbers, index, values in _REFUSED_VALUES:
        tests = [_statement(_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values)]
        rule(numbers, _argument(index), *tests, allow, refuse)
    parts.append(allow)
    return b"".join(parts)


def restrict() -> None:
    """Put this process, and every thread it starts, behind the filter; OSError without one."""
    program = ctypes.create_string_buffer(_program(architecture(), os.getpid()))
    count = (len(program) - 1) // 8
    header = ctypes.create_string_buffer(struct.pack("@HP", count, ctypes.addressof(program)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, _FILTER_MODE, header)
