"""What runs beside a submission's code, in its child: functions that measure and judge nothing.

A probe takes the submission's module and plain data and returns plain data (numbers, text, bytes,
arrays, and lists and dicts of these). It holds no expected value and no threshold: those stay with
the tests, on the other side of the wall. Random draws come in as arrays or seeds.
"""
