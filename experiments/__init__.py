"""What is made with jaxflow: figures, open questions, checks of what the paper says."""

import os
import sys
from pathlib import Path

# A command keeps the programs that it compiles, for the next time. While `python -m`
# imports this package, and only then, sys.argv[0] is "-m": who imports it otherwise,
# as the tests and the benchmarks do, is not told where to keep anything.
if sys.argv[:1] == ["-m"]:
    if sys.stderr.isatty():
        # jax takes seconds to load; the progress bar overwrites this.
        sys.stderr.write("loading jax ...\r")
        sys.stderr.flush()
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax")
    )
    # jax keeps no program that may raise from within, as those of diffrax may; what is
    # wrong there comes out as NaN instead.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    # Of every program that is read back XLA says that it was compiled for a machine
    # that prefers no gathers, as if that were an error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
