"""`python -m ingest` is the same as the command `defender-ingest`."""

import sys

from ingest.cli import main

sys.exit(main())
