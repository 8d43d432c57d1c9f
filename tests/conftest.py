"""Tests run in float64, with rank promotion an error and dtype promotion strict, and
with every shape annotation of the library checked by beartype."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

with install_import_hook("jaxflow", "beartype.beartype"):
    import jaxflow  # noqa: F401
    from jaxflow._ensemble.resources import memory_maps


@pytest.fixture(autouse=True, scope="module")
def _release_compiled_programs():
    """Each compiled program holds some memory maps, of which a process may have 65530;
    beyond, the compiler crashes."""
    yield
    if memory_maps() > 30_000:
        jax.clear_caches()
