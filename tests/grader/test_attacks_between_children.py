"""What two children that are graded at the same time could signal to each other through."""

import sys
import time
from contextlib import closing

import pytest
from further_cases import thorough_after
from tiny_assignment import ask, loaded, submission_of, tiny_sandbox

from dlip_reg.grading.errors import StudentError
from dlip_reg.grading.student import Student

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")

# Each way leaves something behind, and looks for what the other child has left.
SOURCE = '''
import array, ctypes, fcntl, mmap, os, platform, resource, signal, socket, struct, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
FILE = os.open(os.__file__, os.O_RDONLY)
RARE = os.open(os.path.join(os.path.dirname(os.__file__), "antigravity.py"), os.O_RDONLY)
PAGE = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, FILE, ctypes.c_long(0))  # read, shared
WORD = ctypes.c_uint.from_address(PAGE).value
FUTEX, IO_SETUP = (202, 206) if platform.machine() == "x86_64" else (98, 0)
ALL_BITS = 0xFFFFFFFF
kept = []

def outcome(way, other):
    return eval(way, globals() | {"other": other})

def call(number, *arguments):
    """The system call's result; OSError if it fails."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *wide)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def in_thread(*arguments):
    """Make a call that waits, in a thread that goes on trying."""
    def wait():
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try: call(*arguments)
            except OSError: time.sleep(0.001)
    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.2)

def leave_wait(operation):
    """Wait for a page of a library, or to be moved from there."""
    kept.append(ctypes.c_uint())
    in_thread(FUTEX, PAGE, operation, WORD, 0, ctypes.addressof(kept[-1]), ALL_BITS)

def leave_lock():
    fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(FILE, fcntl.LOCK_SH | fcntl.LOCK_NB)

def look_at_lock():
    fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fcntl.fcntl(FILE, fcntl.F_GETLK, struct.pack("hhllixxxx", 1, 0, 0, 0, 0))

def leave_flags():
    flags = struct.unpack("i", fcntl.ioctl(FILE, 0x80086601, bytes(4)))[0]
    fcntl.ioctl(FILE, 0x40086602, struct.pack("i", flags ^ 0x40))  # not to be dumped

def leave_pipes():
    for _ in range(64):
        kept.append(os.pipe())
        fcntl.fcntl(kept[-1][0], 1031, 1 << 20)

def look_at_pipes():
    reader, writer = os.pipe()
    try: return [fcntl.fcntl(reader, 1032), fcntl.fcntl(reader, 1031, 1 << 20)]
    finally: os.close(reader), os.close(writer)

def leave_threads():
    for _ in range(30):
        threading.Thread(target=time.sleep, args=(3,), daemon=True).start()

def look_at_threads():
    """How many this user may have before one cannot be started."""
    return allowed(resource.RLIMIT_NPROC, lambda: threading.Thread(target=int).start())

def leave_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    for _ in range(100): signal.pthread_kill(threading.get_ident(), signal.SIGRTMIN)

def look_at_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMAX])
    def send():
        signal.pthread_kill(threading.get_ident(), signal.SIGRTMAX)
        signal.sigwait([signal.SIGRTMAX])
    return allowed(resource.RLIMIT_SIGPENDING, send)

def allowed(limit, act):
    """The least value of the limit under which `act` succeeds."""
    _, hard = resource.getrlimit(limit)
    low, high = 0, 1 << 16
    while low < high:
        middle = (low + high) // 2
        resource.setrlimit(limit, (middle, hard))
        try:
            act()
            high = middle
        except (RuntimeError, OSError): low = middle + 1
    return low

def leave_requests():
    kept.append(ctypes.c_ulong())
    call(IO_SETUP, 16, ctypes.byref(kept[-1]))

def look_at_requests():
    """How many requests for input and output this machine still takes."""
    low, high = 0, 1 << 20
    while low < high:
        middle, context = (low + high + 1) // 2, ctypes.c_ulong()
        try:
            call(IO_SETUP, middle, ctypes.byref(context))
            call(IO_SETUP + 1, context.value)
            low = middle
        except OSError as error:
            if error.strerror != "Resource temporarily unavailable": raise
            high = middle - 1
    return low

def leave_processor_time():
    end = time.process_time() + 0.5
    while time.process_time() < end: pass

def sleep_until_it_has_worked(other):
    """Return at once if the other has had 0.4 s of processor time."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    until = ctypes.byref((ctypes.c_long * 2)(0, 400_000_000))
    call(230 if platform.machine() == "x86_64" else 115, ~other << 3 | 2, 1, until, 0)

def map_page():
    """Map a page that nobody else has mapped."""
    kept.append(mmap.mmap(RARE, 100, mmap.MAP_SHARED, mmap.PROT_READ))
    return kept[-1][0]

def look_at_shares():
    """How many share that page."""
    map_page()
    with open("/proc/self/smaps") as maps: found = maps.read()
    kept.pop().close()
    return found.partition("antigravity.py")[2].partition("VmFlags")[0]

def leave_room_on_disk():
    with open("large", "wb") as file: file.write(bytes(4 << 20))
    kept.append(os.open("large", os.O_RDONLY))

def look_at_pages():
    size, pages = ctypes.c_size_t(4096), ctypes.create_string_buffer(1)
    if libc.mincore(ctypes.c_void_p(PAGE), size, pages):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def look_without_waiting():
    assert os.preadv(FILE, [bytearray(1)], 0) == 1
    os.preadv(FILE, [bytearray(1)], 0, os.RWF_NOWAIT)

def send_files():
    files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [FILE]))]
    socket.socket(fileno=os.dup(3)).sendmsg([b"x"], files)
'''
WOKEN = "call(FUTEX, PAGE, 1, 100, 0, 0, 0)"  # FUTEX_WAKE
# What is left, and how the other child, which may know the first one's number, looks for it.
WAYS = {
    "futex": ("leave_wait(0)", WOKEN),
    "futex with bits": ("leave_wait(9)", WOKEN),
    "futex that is moved": ("leave_wait(11)", WOKEN),
    "futex_wait": ("in_thread(455, PAGE, WORD, ALL_BITS, 2, 0, 1)", WOKEN),
    "futex_waitv": ("in_thread(449, (ctypes.c_ulong * 3)(WORD, PAGE, 2), 1, 0, 0, 1)", WOKEN),
    "lock": ("leave_lock()", "look_at_lock()"),
    "hint": ("fcntl.fcntl(FILE, 1036, struct.pack('Q', 3))", "fcntl.fcntl(FILE, 1035, bytes(8))"),
    "flags of a file": ("leave_flags()", "fcntl.ioctl(FILE, 0x80086601, bytes(4))"),
    "pipes": ("leave_pipes()", "look_at_pipes()"),
    "threads": ("leave_threads()", "look_at_threads()"),
    "signals that wait": ("leave_signals()", "look_at_signals()"),
    "requests": ("leave_requests()", "look_at_requests()"),
    "affinity": (
        "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})",
        "sorted(os.sched_getaffinity(other))",
    ),
    "processor time": (
        "leave_processor_time()",
        "round(time.clock_gettime(~other << 3 | 2), 1)",
    ),
    "processor time to sleep for": ("leave_processor_time()", "sleep_until_it_has_worked(other)"),
    "pages that both have mapped": ("map_page()", "look_at_shares()"),
    "room on the disk": (
        "leave_room_on_disk()",
        "[os.statvfs(place).f_bfree for place in ('.', os.__file__)]",
    ),
}


@pytest.fixture(scope="module", params=["strong", "medium"])
def workers(request):
    """Two sandboxes, as those of two workers."""
    with tiny_sandbox(tier=request.param) as one, tiny_sandbox(tier=request.param) as other:
        yield one, other


@pytest.mark.parametrize("way", thorough_after(8, WAYS))
def test_nothing_that_a_child_leaves_can_be_seen_by_another(workers, way):
    leave, look = WAYS[way]
    sender, receiver = (loaded(sandbox, SOURCE) for sandbox in workers)
    before = outcome(receiver, look, sender)
    outcome(sender, leave, sender)
    assert outcome(receiver, look, sender) == before


def outcome(child, way, sender):
    try:
        return ask(child, "outcome", way, sender._pid)
    except StudentError as error:
        return str(error)


@pytest.mark.parametrize("look", ["look_at_pages()", "look_without_waiting()", "send_files()"])
def test_what_is_refused_says_so(workers, look):
    with pytest.raises(StudentError, match=r"Operation not (permitted|supported)"):
        ask(loaded(workers[0], SOURCE), "outcome", look, 0)


CLOCK = """
import ctypes, signal, threading, time

times = []
def tick():
    while True:
        times.append(time.monotonic())
        time.sleep(0.01)

def start():
    threading.Thread(target=tick, daemon=True).start()
    # A timer whose signal would let a stopped process go on.
    signal.signal(signal.SIGCONT, lambda *_: None)
    event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0)
    timer = ctypes.c_void_p()
    every = (ctypes.c_long * 4)(0, 20_000_000, 0, 20_000_000)
    libc = ctypes.CDLL(None)
    if libc.timer_create(1, event, ctypes.byref(timer)) == 0:
        libc.timer_settime(timer, 0, every, None)

def sleep():
    time.sleep(0.5)

def largest_gap():
    return max(b - a for a, b in zip(times, times[1:]))
"""


@pytest.mark.parametrize("tier", ["strong", "medium"])
def test_of_the_public_and_the_hidden_child_only_one_runs_at_a_time(tier):
    submission = submission_of(CLOCK)
    with tiny_sandbox(tier=tier) as sandbox, closing(Student(sandbox, submission)) as student:
        for public, names in ((True, ["start"]), (False, ["sleep"]), (True, [])):
            student.begin(public=public, module="a")
            for name in names:
                student.call(name)
        time.sleep(0.1)
        assert student.call("largest_gap") > 0.4
