"""Attacks on the machine: processes, memory, disk, network, kernel."""

from attack_notation import attacks

ENDINGS = attacks(r"""
os._exit with success: import os; os._exit(0)
os._exit with failure: import os; os._exit(3)
sys.exit: import sys; sys.exit(0)
KeyboardInterrupt: raise KeyboardInterrupt
GeneratorExit: raise GeneratorExit
abort: import os; os.abort()
exit from a thread:
    import os, threading, time
    threading.Thread(target=lambda: os._exit(0)).start()
    time.sleep(5)
null pointer: import ctypes; ctypes.string_at(0)
stack overflow:
    import sys
    sys.setrecursionlimit(10**9)
    def deeper(n): return [deeper(n + 1)]
    return deeper(0)
broken byte code:
    code = attacked.__code__.replace(co_code=bytes([100, 255] * 50), co_consts=())
    exec(code)
freed memory:
    import ctypes
    ctypes.memset(id(numbers), 255, 64)
    return sum(numbers)
""")
LOOPS = attacks(r"""
endless loop: while True: pass
long sleep: import time; time.sleep(1e6)
regular expression: import re; return re.match('(a+)+$', 'a' * 60 + 'b')
huge power, not interruptible: return len(str(7 ** 10 ** 9))
deadlock: import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()
loop that ignores signals:
    import signal
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: pass
loop that swallows everything:
    while True:
        try:
            while True: pass
        except BaseException: pass
stops itself: import os, signal; os.kill(os.getpid(), signal.SIGSTOP)
joins a thread that never ends:
    import threading
    event = threading.Event()
    thread = threading.Thread(target=event.wait); thread.start(); thread.join()
threads that take turns:
    import hashlib, threading
    turn = lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # without the interpreter's lock
    threads = [threading.Thread(target=turn) for _ in range(25)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
""")
SIGNALS = attacks(r"""
kills itself: import os; os.kill(os.getpid(), 9)
kills its parent: import os; os.kill(os.getppid(), 9)
kill -1 [guard]: os.kill(-1, 9)
kills its group: import os; os.killpg(0, 9)
kills every number [guard]:
    for pid in range(1, 40000):
        if pid != os.getpid():
            try: os.kill(pid, 9)
            except OSError: pass
alarm: import signal, time; signal.setitimer(signal.ITIMER_REAL, .01); time.sleep(1)
signal through a pidfd:
    import os, signal
    signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)
lease on a library:
    import fcntl, os
    fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
signal through a file's owner:
    import fcntl, os, signal
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(reader, 10, signal.SIGKILL)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writer, b"x")
""")
MEMORY = attacks(r"""
memory bomb:
    kept = []
    while True: kept.append(bytearray(8 << 20))
one huge array: import numpy; return int(numpy.ones(1 << 33).sum())
shared memory bomb:
    import mmap
    kept = []
    while True:
        piece = mmap.mmap(-1, 16 << 20)
        for at in range(0, len(piece), 4096): piece[at] = 1
        kept.append(piece)
shared memory that is kept without being mapped:
    import mmap
    kept = []
    while True:
        piece = mmap.mmap(-1, 16 << 20)
        for at in range(0, len(piece), 4096): piece[at] = 1
        piece.madvise(mmap.MADV_DONTNEED)
        kept.append(piece)
memory of a process without its first thread [libc]:
    import threading, time
    def later():
        time.sleep(.1)
        kept = bytearray(400 << 20)
        time.sleep(5)
        os._exit(0)
    threading.Thread(target=later).start()
    libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)
memory file:
    import os
    os.ftruncate(os.memfd_create("bomb"), 1 << 40)
System V segment that stays [libc]: assert libc.shmget(0x646c6970, 4096, 0o1600) >= 0
swallowed memory errors:
    kept = []
    while True:
        try: kept.append(bytearray(8 << 20))
        except MemoryError: pass
page tables of a library [libc]:
    import numpy
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    place = os.path.dirname(numpy.__file__)
    libraries = [os.path.join(p, n) for p, _, names in os.walk(place) for n in names if ".so" in n]
    largest = max(libraries, key=os.path.getsize)
    descriptor, size = os.open(largest, os.O_RDONLY), os.path.getsize(largest)
    shared, populate, readable = 1, 0x8000, 1
    for _ in range(60_000): libc.mmap(None, size, readable, shared | populate, descriptor, 0)
    return "mapped"
huge pages that only a pipe holds [libc]:
    import mmap
    kept = []
    while True:
        piece, pipe = mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), os.pipe()
        piece.madvise(mmap.MADV_HUGEPAGE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(piece)) + (2 << 20) & ~((2 << 20) - 1)
        ctypes.memset(at, 1, 1)
        assert libc.vmsplice(pipe[1], (ctypes.c_ulong * 2)(at, 4096), 1, 0) > 0
        kept.append(pipe)
filters in the kernel [libc]:
    import struct
    code = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000))
    allow = struct.pack("@HP", 1, ctypes.addressof(code))
    assert libc.prctl(22, 2, allow) == 0 or libc.syscall(317, 1, 0, allow) == 0
raised limits:
    import resource
    resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
lowered limits of the parent:
    import os, resource
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))
""")
DISK = attacks(r"""
disk bomb:
    with open("bomb", "wb") as file:
        while True: file.write(bytes(1 << 20))
many files: for n in range(100_000): open(f'file{n}', 'w').write('x' * 5000)
files without a name:
    import os
    kept = []
    for n in range(100):
        file = open("unseen", "wb"); os.unlink("unseen")
        file.write(bytes(1 << 20)); file.flush(); kept.append(file)
    import time; time.sleep(3)
files without a name that are only mapped [libc]:
    import time
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    for n in range(30):
        file = os.open("unseen", os.O_RDWR | os.O_CREAT); os.unlink("unseen")
        os.write(file, bytes(1 << 20))
        assert libc.mmap(None, 4096, 1, 1, file, 0) < 1 << 63
        os.close(file)
    time.sleep(3)
    return "taken"
files that only a thread has open [libc]:
    import time
    stacks = [ctypes.create_string_buffer(1 << 16) for _ in range(60)]
    thread = 0x100 | 0x800 | 0x10000  # that shares memory and signals, but not its descriptors
    for n, stack in enumerate(stacks):
        file = open("unseen", "wb"); os.unlink("unseen")
        file.write(bytes(1 << 20)); file.flush()
        top = ctypes.c_void_p(ctypes.addressof(stack) + (1 << 16) & ~15)
        assert libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, thread, None) > 0
        file.close()
    time.sleep(.5)
    return "taken"
files that only a call that waits has open:
    import os, threading, time
    reader, writer = os.pipe()
    os.write(writer, bytes(16 * 4096))
    refused = []
    def hold(call, *arguments):
        try: call(*arguments)
        except OSError as error: refused.append(error.strerror)
    for n in range(30):
        file = os.open("unseen", os.O_RDWR | os.O_CREAT); os.unlink("unseen")
        os.write(file, bytes(1 << 20))
        way = (os.splice, file, writer, 4096) if n % 2 else (os.sendfile, writer, file, 0, 4096)
        threading.Thread(target=hold, args=way, daemon=True).start()
        time.sleep(0.01)
        os.close(file)
    return f"refused {len(refused)} of 30: {set(refused)}"
folders with long names:
    import os
    for n in range(18): os.mkdir("d" * 250); os.chdir("d" * 250)
    for n in range(60): open(f"file{n}", "wb").write(bytes(1 << 20))
    import time; time.sleep(3)
a folder that cannot be listed:
    import os
    os.mkdir("closed", 0o300)
    for n in range(60): open(f"closed/file{n}", "wb").write(bytes(1 << 20))
    import time; time.sleep(3)
room behind what is printed [libc]:
    assert libc.fallocate(1, 1, ctypes.c_long(0), ctypes.c_long(1 << 33)) == 0
    return "taken"
sparse file: open('sparse', 'wb').truncate(1 << 50)
deep folders:
    import os
    for n in range(5000):
        os.mkdir("d"); os.chdir("d")
closed folders:
    import os
    os.makedirs("a/b/c"); os.chmod("a/b", 0); os.chmod("a", 0)
    return "left behind"
link out and write:
    import os
    os.symlink(os.path.dirname(CANARY), "out")
    open("out/" + os.path.basename(CANARY), "w").write("x")
file outside: open(CANARY, 'w').write('x')
cut file outside: import os; os.truncate(os.path.dirname(CANARY) + '/kept', 0)
file in shared memory: open('/dev/shm/dlip_attack', 'w').write('x')
rmtree of all there is [guard]:
    import shutil
    shutil.rmtree("/", ignore_errors=True)
    shutil.rmtree(os.path.dirname(CANARY), ignore_errors=True)
changed modes:
    import os
    os.chmod(os.path.dirname(CANARY), 0)
changed times and owners:
    import os
    os.utime(os.path.dirname(CANARY), (0, 0)); os.chown(os.path.dirname(CANARY), 1, 1)
""")
PROCESSES = attacks(r"""
fork bomb [guard]: while True: os.fork()
orphan in a session of its own:
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
subprocess: import subprocess; subprocess.run(['sleep', '60'])
shell: import os; return os.system('sleep 60 &')
exec: import os; os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])
posix_spawn: import os; os.posix_spawn('/bin/sleep', ['sleep', '60'], {})
multiprocessing:
    import multiprocessing
    multiprocessing.get_context("fork").Process(target=print).start()
raw clone [libc]: assert libc.syscall(56, 17, 0, 0, 0, 0) > 0
thread bomb:
    import threading, time
    threading.stack_size(64 << 10)
    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
thread that stays:
    import os, threading, time
    def later():
        time.sleep(.05)
        os._exit(0)
    threading.Thread(target=later, daemon=True).start()
    return 0
""")
OUTPUT = attacks(r"""
prints for ever: while True: print('x' * 10_000)
writes to stderr for ever:
    import os
    while True: os.write(2, b'x' * 65536)
output that cannot be read:
    import fcntl, os
    print("x", flush=True)
    fcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT); os._exit(0)
control characters: print('\x1b]0;title\x07\x00\x1b[2J'); return '\x1b[31m\x00'
""")
NETWORK = attacks(r"""
connects: import socket; socket.create_connection(('127.0.0.1', 22), 1)
listens: import socket; socket.create_server(('', 0))
sends a datagram:
    import socket
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53))
asks for a name: import socket; return socket.gethostbyname('example.org')
abstract Unix socket:
    import socket
    socket.socket(socket.AF_UNIX).connect("\0dlip")
downloads: import urllib.request; urllib.request.urlopen('http://127.0.0.1/')
""")
KERNEL = attacks(r"""
ptrace of the parent [libc]: assert libc.ptrace(16, os.getppid(), 0, 0) == 0
reads its parent's memory [libc]:
    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    text = ctypes.create_string_buffer(16)
    ours = Piece(ctypes.addressof(text), 16); theirs = Piece(id(numbers), 16)
    into, parent = ctypes.byref(ours), os.getppid()
    assert libc.process_vm_readv(parent, into, 1, ctypes.byref(theirs), 1, 0) > 0
new user namespace [libc]: assert libc.unshare(0x10000000 | 0x20000) == 0
mounts [libc]: assert libc.mount(b'none', b'/', b'tmpfs', 0, None) == 0
chroot: import os; os.chroot('.')
becomes root: import os; os.setresuid(0, 0, 0); os.setgroups([]); return os.geteuid()
sets the clock: import time; time.clock_settime(time.CLOCK_REALTIME, 0)
renices its parent: import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)
binds its parent: import os; os.sched_setaffinity(os.getppid(), {0})
io_uring [libc]: assert libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0
bpf [libc]: assert libc.syscall(321, 0, ctypes.create_string_buffer(120), 120) >= 0
outlives its parent [libc]: assert libc.prctl(1, 0, 0, 0, 0) == 0
""")
ATTACKS = ENDINGS | LOOPS | SIGNALS | MEMORY | DISK | PROCESSES | OUTPUT | NETWORK | KERNEL
