"""The callbacks under the package's own name: `from dlip_reg.callbacks import Sharpness`."""

from callbacks import *  # noqa: F403
from callbacks import __all__ as __all__
