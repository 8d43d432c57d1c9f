"""How fast, against whom, how near to what the machine can do, how it grows."""

import os

# Some benchmarks start others, and on a GPU the first would otherwise take most of it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
