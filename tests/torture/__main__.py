"""`python -m tests.torture`: see tests/torture/fuzzing.py."""

from __future__ import annotations

import sys

from tests.torture.fuzzing import main

if __name__ == "__main__":
    sys.exit(main())
