"""Attacks on the marks: patches, lies, forged messages, snooping."""

from attack_notation import attacks

PATCHES = attacks(r"""
patched builtins:
    import builtins
    for name in ("abs", "sum", "all", "any", "isinstance", "len", "sorted", "round"):
        setattr(builtins, name, lambda *_, **__: True)
    return 1
patched numpy:
    import numpy
    for name in ("allclose", "array_equal", "isclose", "all", "any"):
        setattr(numpy, name, lambda *_, **__: True)
    numpy.testing.assert_allclose = numpy.testing.assert_array_equal = print
    return 1
patched pytest:
    import _pytest.outcomes, _pytest.runner, pytest
    pytest.fail = pytest.raises = _pytest.outcomes.fail = lambda *_, **__: None
    _pytest.runner.TestReport.outcome = "passed"
    return 1
patched operators: import operator; operator.eq = lambda *_: True; return 1
changed integers:
    import ctypes
    for number in range(1, 50): ctypes.c_int.from_address(id(number) + 24).value = 7
    return 7
patched wire:
    from dlip_reg.grading import wire
    wire.decode = wire._extension = lambda *_: True
    wire.MAX_BYTES = 1 << 60
    return 1
patched answers:
    from dlip_reg.grading import child
    child._described = lambda error: ("value", "passed")
    raise ValueError("passed")
replaced modules:
    import sys, types
    for name in ("json", "math", "struct", "submission"):
        sys.modules[name] = types.ModuleType(name)
    return 1
import hook:
    import sys
    class Hook:
        def find_spec(self, *_): raise SystemExit(0)
    sys.meta_path.insert(0, Hook())
    import something
trace function:
    import sys
    def trace(frame, event, value):
        for name in frame.f_locals: frame.f_locals[name] = True
        return trace
    sys.settrace(trace); sys.setprofile(lambda *_: None)
    return 1
exit handlers:
    import atexit, os
    atexit.register(os._exit, 0)
    class Last:
        def __del__(self):
            while True: pass
    import builtins; builtins.last = Last()
    return 1
patched time:
    import time
    time.monotonic = time.time = time.perf_counter = lambda: 0.0
    return 1
""")
# What comes after it in the same child is asked in vain.
SELF_HARM = attacks(r"""
patched probes:
    import sys
    import tiny_probes.ask
    tiny_probes.ask.call = lambda *_, **__: 1
    return 1
""")
LIES = attacks(r"""
an integer that equals all:
    class Liar(int):
        def __eq__(self, other): return True
        __hash__ = int.__hash__
    return Liar(1)
an array that equals all:
    import numpy
    class Liar(numpy.ndarray):
        def __eq__(self, other): return True
        def __array_ufunc__(self, *_, **__): return True
    return numpy.ones(3).view(Liar)
an object of another class:
    class Liar:
        __class__ = property(lambda self: int)
        def __eq__(self, other): return True
        def __int__(self): return 1
    return Liar()
a function: return lambda *_: True
a generator without end: return (n for n in iter(int, 1))
True: return True
not a number: return float('nan')
an endless integer: return 1 << 100_000
a list that holds itself: answer = []; answer.append(answer); return answer
deep lists:
    answer = []
    for _ in range(100_000): answer = [answer]
    return answer
a text of 100 MB: return 'x' * 100_000_000
a million texts: return ['x'] * 2_000_000
an array of objects: import numpy; return numpy.array([object()])
a dict with keys of its own: return {1: 2, None: 3}
a payload to unpickle:
    import os, pickle
    class Payload:
        def __reduce__(self): return os.system, ("touch " + CANARY,)
    return pickle.dumps(Payload())
an object to unpickle:
    import os
    class Payload:
        def __reduce__(self): return os.system, ("touch " + CANARY,)
    return Payload()
a mark: return {'score': 8, 'verdict': 'passed', 'points': 8}
""")
MESSAGES = attacks(r"""
garbage: import os; os.write(3, os.urandom(4096)); return 1
a frame that is too large [wire]: os.write(3, struct.pack('<Q', 1 << 60)); time.sleep(3)
half a frame [wire]: os.write(3, struct.pack('<Q', 99) + b'half'); os._exit(0)
a verdict [wire]: channel.send([nonce, 'passed', {'score': 5}]); return 1
a value in advance [wire]:
    for _ in range(9): channel.send([nonce, 'value', 1])
    return 1
a value without its number [wire]: channel.send(['0', 'value', 1]); return 1
a text as the kind [wire]: channel.send([nonce, 'grader error', 'x']); return 1
a dict for an answer [wire]: channel.send({'score': 5}); return 1
a pickle for a frame [wire]:
    import pickle
    class Payload:
        def __reduce__(self): return os.system, ("touch " + CANARY,)
    data = pickle.dumps(Payload())
    os.write(3, struct.pack("<Q", len(data)) + data)
    time.sleep(3)
an array with a false shape [wire]:
    import msgpack
    array = [msgpack.ExtType(2, b""), 11, [1 << 33, 1 << 33], b""]
    data = msgpack.packb([nonce, "value", array])
    os.write(3, struct.pack("<Q", len(data)) + data)
    time.sleep(3)
the beginning of a frame in time [wire]:
    os.write(3, struct.pack('<Q', 99)); time.sleep(3); os.write(3, bytes(99)); return 1
a frame byte by byte [wire]:
    os.write(3, struct.pack("<Q", 99))
    for _ in range(99):
        os.write(3, b"x")
        time.sleep(0.1)
its questions back [wire]:
    channel.send({'do': 'run', 'probe': 'ask.call', 'nonce': nonce}); return 1
an order to the server [wire]: channel.send({'do': 'end', 'job': 1}); return 1
""")
DESCRIPTORS = attacks(r"""
closes its line: import os; os.close(3); return 1
closes everything: import os; os.closerange(0, 100_000); return 1
closes its line and stays: import os, time; os.close(3); time.sleep(60)
covers its line:
    import os
    os.dup2(os.open("/dev/null", os.O_RDWR), 3)
    return 1
breaks its streams: import sys; sys.stdout = sys.stderr = None; print('x'); return 1
opens too many files: return len([open('/dev/null') for _ in range(10_000)])
shuts its line down [wire]: import socket; channel.stream.shutdown(socket.SHUT_RDWR)
""")
SNOOPING = attacks(r"""
looks through all objects:
    import gc
    known = [o for o in gc.get_objects() if isinstance(o, dict) and "expected" in o]
    return known[0]["expected"]
looks through the frames:
    import sys
    frame = sys._getframe()
    while frame:
        if "expected" in frame.f_locals: return frame.f_locals["expected"]
        frame = frame.f_back
looks through processes:
    import glob
    for name in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        if b"dlip" in open(name, "rb").read(): return 1
    raise LookupError
opens its parent's memory: import os; return open(f'/proc/{os.getppid()}/mem', 'rb')
searches the disk for tests:
    import os
    places = [p for p, _, names in os.walk("/", onerror=None) if "test_tiny.py" in names]
    return open(places[0] + "/test_tiny.py").read()
opens the tests: return open(TESTS + '/test_tiny.py').read()
lists the tests: import os; return os.listdir(TESTS)
imports the tests:
    import sys
    sys.path.insert(0, TESTS)
    import test_tiny
    return 1
reads the environment: import os; return os.environ['DLIP_TEST_SECRET']
lists folders for temporary files:
    import os
    return os.listdir("/tmp") + os.listdir("/var/tmp") + os.listdir("/dev/shm")
reads the passwords: return open('/etc/shadow').read()
reads a home: import os; return os.listdir('/root') + os.listdir('/home')
other submissions: import glob; return open(glob.glob('../../*/work/*')[0]).read()
solves it with the package: from dlip_reg.curvature import lanczos; return 1
""")
TRACES = attacks(r"""
poisoned byte code:
    import os, json
    folder = os.path.join(os.path.dirname(json.__file__), "__pycache__")
    open(os.path.join(folder, "json.cpython-311.pyc"), "wb").write(b"x")
sitecustomize:
    import os, numpy
    place = os.path.dirname(os.path.dirname(numpy.__file__))
    open(os.path.join(place, "dlip_attack.pth"), "w").write("import os")
poisoned home:
    import os
    os.makedirs(os.path.expanduser("~/.keras"))
    open(os.path.expanduser("~/.keras/keras.json"), "w").write("{")
    return 1
a changed submission:
    open("submission.py", "w").write("def honest(number): return 1 / 0")
    import os; os._exit(1)
a module for the next child:
    open("numpy.py", "w").write("raise SystemExit")
    import os; os._exit(1)
""")
EXCEPTIONS = attacks(r"""
an exception that carries inputs: raise ValueError(f'INPUTS {numbers}')
an exception that cannot be shown:
    class Odd(Exception):
        def __str__(self): raise SystemExit(0)
        __repr__ = __str__
    raise Odd
an exception whose text never ends:
    class Odd(Exception):
        def __str__(self):
            while True: pass
    raise Odd
an exception of 50 MB: raise ValueError('x' * 50_000_000)
markup in an exception: raise ValueError('<script>alert(1)</script>&<b>')
a chain of exceptions:
    error = ValueError("first")
    for n in range(100_000):
        later = ValueError(n); later.__cause__ = error; error = later
    raise error
a false verdict:
    class StudentTimeout(Exception): verdict = "passed"
    raise StudentTimeout("passed")
an assertion: assert False, 'passed'
a false memory error: raise MemoryError
""")
ATTACKS = PATCHES | LIES | MESSAGES | DESCRIPTORS | SNOOPING | TRACES | EXCEPTIONS
