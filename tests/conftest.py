"""Tests run in float64, with rank promotion an error and dtype promotion strict, and
with every shape annotation of the library checked by beartype.

Three lanes: tests without a marker (`make test`), those marked `slow` besides (`make
test-all`), and those marked `long` alone (`make test-long`).
"""

import itertools
import os
import shutil
import tempfile

# Most of the time of a test is compilation. The processes of a run share what they have
# compiled, the workers and those that tests start; the folder goes with the run.
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_MADE_HERE = _CACHE not in os.environ
if _MADE_HERE:
    os.environ[_CACHE] = tempfile.mkdtemp(prefix="jaxflow-tests-")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# XLA warns on stderr that the machine has features that it was told not to prefer.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

with install_import_hook("jaxflow", "beartype.beartype"):
    import jaxflow  # noqa: F401
    from jaxflow._ensemble.resources import memory_maps


def pytest_unconfigure(config):
    if _MADE_HERE and not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[_CACHE], ignore_errors=True)


_tests = itertools.count()


@pytest.fixture(autouse=True)
def _release_compiled_programs():
    """Each compiled program holds some memory maps, of which a process may have 65530;
    beyond, the compiler crashes. To count them takes some milliseconds."""
    yield
    if next(_tests) % 8 == 7 and memory_maps() > 30_000:
        jax.clear_caches()
