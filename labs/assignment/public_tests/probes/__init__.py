"""What runs beside a submission: functions that measure and judge nothing.

A probe takes the submission's module and plain data and returns plain data (numbers, text, bytes,
arrays, and lists and dicts of these). It holds no expected value and no threshold: those stay with
the tests, in the controller. Random draws come in as arrays or seeds.

What a probe says is the submission's word, for it can put anything in the probe's place. So a test
compares it with what the definition gives for inputs that only the controller knew.
"""
