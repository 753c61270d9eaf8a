"""`python -m robotaxi`."""

import sys

from robotaxi.cli import main

sys.exit(main())
