"""The examples in the docstrings of random problems run as they stand."""

import inspect
import re
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow

EXAMPLES = {
    "sample_problem": jaxflow.sample_problem,
    "sample_inputs": jaxflow.sample_inputs,
    "sample_preactivations": jaxflow.sample_preactivations,
    "uniform_targets": jaxflow.uniform_targets,
    "group_targets": jaxflow.group_targets,
    "TeacherTargets": jaxflow.TeacherTargets,
    "Initialisation": jaxflow.Initialisation,
    "with_bias": jaxflow.AbstractInputs.with_bias,
}


def blocks(documented):
    """The indented examples: what is indented after an empty line."""
    text = (inspect.getdoc(documented) or "") + "\n"
    found = re.findall(r"(?m)(?<=\n\n)(?: {4}[^\n]*\n(?:\n(?= {4}))?)+", text)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name):
    x = np.random.default_rng(0).normal(size=(10, 4))
    given: dict[str, Any] = {
        "jax": jax,
        "jnp": jnp,
        "jaxflow": jaxflow,
        "key": jax.random.key(0),
        "x": x,
        "y": x[:, 0],
        "inputs": jaxflow.DenseInputs(x),
    }
    found = blocks(EXAMPLES[name])
    assert found, name
    for block in found:
        # One after the other, as a reader would type them.
        exec(block, given)
    if name == "sample_problem":
        laws: dict[str, Any] = {k: given[k] for k in ("inputs", "targets", "init")}
        data, network = jaxflow.sample_problem(given["key"], n=9, d=5, p=2, **laws)
        assert data.inputs.num_coordinates == 5 and network.w.shape == (2, 5)
        assert np.all(np.abs(data.targets) <= 1)


@pytest.mark.slow
def test_own_data_in_an_ensemble():
    x = np.random.default_rng(0).normal(size=(10, 4))
    own = [b for b in blocks(jaxflow.simulate_ensemble) if "inputs=x" in b]
    given: dict[str, Any] = {"jax": jax, "jaxflow": jaxflow, "x": x, "y": x[:, 0]}
    # The flow takes half a minute to compile.
    exec(own[0].replace("GradientFlow(rtol=1e-6)", "GradientDescent(0.1)"), given)
    assert given["runs"].sizes == {"p": 2, "seed": 25, "time": 3}
