"""``python -m robotaxi.dispatch``: the same sub-commands as ``robotaxi dispatch``."""

import sys

from robotaxi.dispatch.commands import main

sys.exit(main())
