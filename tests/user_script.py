"""What is written by someone who knows jaxflow from its documentation alone."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import jaxflow
from jaxflow import statistics, theory


def distance(s: jaxflow.Snapshot) -> jax.Array:
    return jnp.sqrt(jnp.mean(s.residuals**2))


def one_run() -> jaxflow.Solution:
    data = jaxflow.Dataset(np.eye(4), [1.0, -1.0, 2.0, -2.0])
    network = jaxflow.Network(0.1 * np.ones((3, 4)), [1.0, -1.0, 1.0])
    return jaxflow.simulate(
        data,
        network,
        jaxflow.GradientFlow(rtol=1e-5),
        times=[0.0, 1.0, 10.0],
        stop=jaxflow.LossBelow(1e-3),
        observe={"distance": distance, **jaxflow.OBSERVABLES},
    )


def threshold(runs: xr.Dataset) -> statistics.Threshold:
    converged = runs.loss.isel(time=-1) < 0.3
    return statistics.fit_threshold(runs.n, converged.sum("seed"), runs.sizes["seed"])


def main() -> None:
    sol = one_run()
    print(sol.message, sol.times, sol.loss, sol.observables["distance"])
    print(sol.final.w.shape, float(sol.final_time), sol.stats["steps"])
    data, network = jaxflow.sample_problem(jax.random.key(0), n=4, d=8, p=3)
    method = jaxflow.GradientDescent(learning_rate=0.5)
    end = float(theory.time_scale(4, 3))
    print(jaxflow.simulate(data, network, method, times=[end]).average_curvature)
    runs: xr.Dataset = jaxflow.simulate_ensemble(
        jax.random.key(1), n=[4, 6], d=8, p=3, seeds=4, method=method, times=[0.0, end]
    )
    print(threshold(runs).estimate, float(runs.loss.mean()))


if __name__ == "__main__":
    main()
