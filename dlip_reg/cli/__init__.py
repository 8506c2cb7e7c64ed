"""What the labs' command lines share: options, exit statuses, and `main(study)`.

Imports nothing heavy, so that ``--help`` and a wrong argument answer at once.
"""

from dlip_reg.cli.command import main

__all__ = ["main"]
