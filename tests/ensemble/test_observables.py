"""What is seen of a padded run is what is seen of the same run without padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow
from jaxflow import theory
from jaxflow._problem.size_buckets import bucket_size, row_bucket_size

KEY = jax.random.key(2)
# Neither is a size of a bucket, so examples and neurons are padded.
N, P = 37, 35
TIMES = [0.0, 2.0, 10.0]

OBSERVE = {
    "lower": theory.curvature_lower_bound,
    "upper": theory.curvature_upper_bound,
    "floor": theory.curvature_floor,
    "unfitted": theory.unfitted_loss,
    "extinction": theory.extinction_time,
    "constant": theory.ceiling_constant,
    "ceiling": lambda s: theory.curvature_ceiling(s, 2.0),
    "printed lower": theory.printed.curvature_lower_bound,
    "printed upper": theory.printed.curvature_upper_bound,
    "printed first": theory.printed.first_upper_bound,
    "printed extinction": theory.printed.extinction_time,
    "printed constant": theory.printed.ceiling_constant,
    "covered": lambda s: s.covered,
    "examples": lambda s: s.n,
    "neurons": lambda s: s.p,
    "mean residual": lambda s: s.mean_over_examples(s.residuals),
    "least residual": lambda s: s.min_over_examples(jnp.abs(s.residuals)),
    "share of examples": lambda s: s.mean_over_examples(jnp.any(s.active, axis=0)),
    "largest a": lambda s: s.max_over_neurons(s.a),
    "least a": lambda s: s.min_over_neurons(jnp.abs(s.a)),
    "mean a": lambda s: s.mean_over_neurons(s.a),
    "share of pairs": lambda s: s.mean_over_neurons(s.mean_over_examples(s.active)),
}
SAMPLED = {name: jaxflow.OBSERVABLES[name] for name in ("lower_bound", "upper_bound")}


@pytest.mark.parametrize(
    "inputs",
    [
        "orthogonal",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("sphere", "antipodal")),
    ],
)
def test_padding_is_not_seen(inputs):
    # Antipodal inputs are two blocks, each of which is padded.
    n = 2 * N if inputs == "antipodal" else N
    assert row_bucket_size(N) > N and bucket_size(P) > P
    sizes: dict[str, Any] = {"n": n, "d": 80, "p": P}
    method = jaxflow.GradientDescent(0.5)
    observe = OBSERVE | SAMPLED
    runs = jaxflow.simulate_ensemble(
        KEY,
        **sizes,
        seeds=1,
        inputs=inputs,
        method=method,
        times=TIMES,
        observe=observe,
        progress=False,
    )
    data, network = jaxflow.sample_problem(
        jaxflow.run_key(KEY, n, 80, P, 0), **sizes, inputs=inputs
    )
    alone = jaxflow.simulate(data, network, method, times=TIMES, observe=observe)
    for name in observe:
        found, expected = runs[name][0].values, alone.observables[name]
        assert_allclose(found, expected, rtol=1e-9, atol=1e-14, err_msg=name)
    # And a run's start is the network at rest.
    rest = jaxflow.Snapshot.of(data, network)
    for name, function in observe.items():
        value = np.asarray(function(rest), float)
        assert_allclose(alone.observables[name][0], value, rtol=1e-9, err_msg=name)
    if inputs == "orthogonal":
        assert np.all(runs["lower"] > 0)
    assert np.all(runs["examples"] == n) and np.all(runs["neurons"] == P)


@pytest.mark.slow
def test_methods_declare_what_they_report():
    # Of two methods one has statistics of its own; the other lacks them by name.
    runs = jaxflow.simulate_ensemble(
        KEY,
        n=20,
        d=5,
        p=4,
        seeds=1,
        inputs="sphere",
        method={
            "flow": jaxflow.FilippovFlow(1e-3),
            "descent": jaxflow.GradientDescent(0.5),
        },
        times=[2.0],
        progress=False,
    )
    declared = set(jaxflow.FilippovFlow.statistics)
    # The flow that chooses its method may be any of them.
    assert declared < set(jaxflow.GradientFlow.statistics)
    assert declared <= set(runs.data_vars)
    flow, descent = runs.sel(dynamics="flow"), runs.sel(dynamics="descent")
    assert np.isfinite(flow.estimated_error) and np.isnan(descent.estimated_error)
    assert int(flow.overflow[0]) >= 0 and int(descent.overflow[0]) == -1
