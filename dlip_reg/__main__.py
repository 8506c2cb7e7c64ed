"""`python -m dlip_reg` is the command `dlip-reg`."""

import sys

from dlip_reg.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
