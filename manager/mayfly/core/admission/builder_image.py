"""The one image of a pool whose containers may build images, and the calls of the kernel that these have.

A builder that nobody trusts runs a Dockerfile's steps in a root of their own, for which it needs a user
namespace and a mount namespace. Docker's own profile gives neither to whoever has not CAP_SYS_ADMIN. The one
here gives both and no further kind: what a user namespace opens of the kernel is mostly the network's, and
that stays shut (ADR 0043). It is an allow-list, written from the kernel's own tables of calls: what is not
known is not there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from mayfly.core.admission import image_names
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.objects import Known

# clone(2), unshare(2): the kinds of namespaces that a container of the builder's cannot make.
_NEWCGROUP, _NEWIPC, _NEWPID, _NEWNET = 0x0200_0000, 0x0800_0000, 0x2000_0000, 0x4000_0000
_NEWTIME = 0x80  # of unshare alone: clone has a signal's number there
SHUT = _NEWCGROUP | _NEWIPC | _NEWPID | _NEWNET
_ENOSYS = 38  # what a C library takes as "use clone": a filter cannot read the flags of clone3
_VSOCK = 40  # the family of sockets that lead out of a virtual machine
# ioctl(2): a file's owner may give it to another project, or have what is made in a directory be of none, and
# so leaves the size that a disk keeps by projects (FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS).
_OF_PROJECTS = (0x401C_5820, 0x4008_6602, 0x4004_6602)
_WORD = 32  # bits of an ioctl's number that the kernel reads, whatever the rest of the argument is
_PERSONALITIES = (0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
# What a user namespace makes of use: roots and names of one's own.
_OF_NAMESPACES = "mount pivot_root setdomainname sethostname umount umount2"
_CALLS = """
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64
    arm_sync_file_range bind breakpoint brk cacheflush cachestat capget capset chdir chmod chown
    chown32 chroot clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range
    creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64
    fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
    fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat fstatat64
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
    getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
    getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
    getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
    getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
    ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    lchown lchown32 lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek
    lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore
    mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    name_to_handle_at nanosleep newfstatat nice oldfstat oldlstat oldolduname oldstat olduname open
    openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect
    poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead
    readdir readlink readlinkat readv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 sendfile sendfile64
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address set_tls setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat sgetmask shmat shmctl shmdt
    shmget shutdown sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn
    sigsuspend socketpair splice ssetmask stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
"""


def is_builder(image: Known, grant: Grant) -> bool:
    """Whether containers of that image may build images."""
    if grant.builder is None:
        return False
    named = image_names.familiar(grant.builder)
    return any(image_names.familiar(one) == named for one in (image.name, *image.names) if one)


@cache
def calls() -> str:
    """The seccomp profile of its containers, as the Engine takes it (JSON)."""
    allowed = [*_CALLS.split(), *_OF_NAMESPACES.split()]
    rules: list[dict[str, Any]] = [
        {"names": allowed, "action": "SCMP_ACT_ALLOW"},
        _no_bits("clone", SHUT),
        _no_bits("unshare", SHUT | _NEWTIME),
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        _compared("socket", _VSOCK, "SCMP_CMP_NE"),
        *(
            _compared("ioctl", bits, "SCMP_CMP_MASKED_EQ", value, index=1)
            for bits, value in all_but(_OF_PROJECTS)
        ),
        *(_compared("personality", one, "SCMP_CMP_EQ") for one in _PERSONALITIES),
    ]
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,  # EPERM
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            ],
            "syscalls": rules,
        }
    )


def _no_bits(call: str, bits: int) -> dict[str, Any]:
    """The call, where its first argument has none of the bits."""
    return _compared(call, bits, "SCMP_CMP_MASKED_EQ")


def all_but(shut: Collection[int]) -> Iterator[tuple[int, int]]:
    """Which bits are compared, and with what, so that all numbers of 32 bits but these fit one: a filter of
    allowing rules compares for "not" all 64 bits alone, of which a caller chooses the other half.
    """
    for place in range(_WORD):
        before = (2**_WORD - 1) << (place + 1) & (2**_WORD - 1)
        mask = before | 1 << place
        for start in sorted({one & before for one in shut}):
            for value in (start, start | 1 << place):
                if all(one & mask != value for one in shut):
                    yield mask, value


def _compared(
    call: str, value: int, how: str, second: int = 0, *, index: int = 0
) -> dict[str, Any]:
    argument = {"index": index, "value": value, "valueTwo": second, "op": how}
    return {"names": [call], "action": "SCMP_ACT_ALLOW", "args": [argument]}
