"""``python -m align_contracts``: the same as the console script ``align-contracts``."""

import sys

from align_contracts.cli import main

sys.exit(main())
