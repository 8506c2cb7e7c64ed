"""What runs in a child: functions that measure and judge nothing.

A probe takes the submission's module and plain data and returns plain data (numbers, text, bytes,
arrays, and lists and dicts of these). It holds no expected value and no threshold: those stay with
the tests, in the controller. Random draws come in as arrays or seeds.

What a probe says beside a submission is that submission's word, for it can put anything in the
probe's place. So a test holds it against values that it computes itself, and models leave as data:
they are measured by probes that run in a child with no submission (`submission` is None).
"""
