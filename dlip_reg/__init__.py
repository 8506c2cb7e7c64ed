"""Loss functions and regularization, measured: the parts behind the labs.

Importing this package imports neither TensorFlow nor Keras, so a script can answer ``--help`` at
once; the subpackages that need them (``models``, ``training``, ``curvature``) import them
themselves.
"""

__version__ = "0.1.0"
