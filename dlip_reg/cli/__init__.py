"""What the labs' command lines share: options, exit statuses, and `main(study)`.

Imports nothing heavy, so that ``--help`` and a wrong argument answer at once.
"""

from dlip_reg.cli.command import main, run_command
from dlip_reg.cli.parser import common_parser, positive_argument

__all__ = ["common_parser", "main", "positive_argument", "run_command"]
