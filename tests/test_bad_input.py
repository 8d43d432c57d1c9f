"""Bad input gets a ValueError that says what was given and what would work."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config as jaxtyping_config

import jaxflow

X, Y = np.eye(3), np.ones(3)
W, A = np.ones((2, 3)), np.ones(2)
DATA, NETWORK = jaxflow.Dataset(X, Y), jaxflow.Network(W, A)
FLOW = jaxflow.GradientFlow()
KEY = jax.random.key(0)


def simulate(data=DATA, network=NETWORK, method=FLOW, times=(1.0,), **kwargs):
    return jaxflow.simulate(data, network, method, times=times, **kwargs)


def sample(**kwargs):
    return jaxflow.sample_problem(KEY, **{"n": 4, "d": 8, "p": 2, **kwargs})


def holed(array, value):
    copy = np.array(array)
    copy.flat[-1] = value
    return copy


# Where a type checker refuses an argument already, that is meant too.
CASES = {
    "x and y disagree": (lambda: jaxflow.Dataset(X, np.ones(4)), "3 examples.*4"),
    "x is a vector": (lambda: jaxflow.Dataset(Y, Y), r"x must have 2 axis.*\(3,\)"),
    "x is a batch": (lambda: jaxflow.Dataset(X[None], Y), "jax.vmap"),
    "x is empty": (lambda: jaxflow.Dataset(np.ones((0, 3)), []), "x must not be empty"),
    "d is 0": (lambda: jaxflow.Dataset(np.ones((3, 0)), Y), "x must not be empty"),
    "NaN in x": (
        lambda: jaxflow.Dataset(holed(X, np.nan), Y),
        r"x must be finite.*nan",
    ),
    "inf in y": (
        lambda: jaxflow.Dataset(X, holed(Y, np.inf)),
        r"y must be finite.*inf",
    ),
    "complex x": (lambda: jaxflow.Dataset(X * 1j, Y), "real numbers.*complex"),
    "zero input": (lambda: jaxflow.Dataset(holed(X, 0.0), Y), r"x\[2\] is the zero"),
    "gram is not square": (lambda: jaxflow.GramInputs(W), r"square.*\(2, 3\)"),
    "gram is not symmetric": (
        lambda: jaxflow.GramInputs(np.triu(np.ones((3, 3)))),
        "symmetric",
    ),
    "gram has a zero input": (lambda: jaxflow.GramInputs(holed(X, 0.0)), "zero vector"),
    "gram is negative": (lambda: jaxflow.GramInputs(-X), "diagonal of gram.*positive"),
    "a norm is 0": (lambda: jaxflow.OrthogonalInputs([1.0, 0.0]), "norms.*positive"),
    "antipodal lengths": (lambda: jaxflow.AntipodalInputs([1.0], [1.0, 2.0]), "pair"),
    "w and a disagree": (lambda: jaxflow.Network(W, np.ones(3)), "2 neurons.*3"),
    "p is 0": (lambda: jaxflow.Network(np.ones((0, 3)), []), "w must not be empty"),
    "NaN in w": (lambda: jaxflow.Network(holed(W, np.nan), A), "w must be finite"),
    "NaN in a": (lambda: jaxflow.Network(W, holed(A, np.nan)), "a must be finite"),
    "squared_norm shape": (
        lambda: jaxflow.Network(W, A, np.ones(3)),
        r"\(2,\).*\(3,\)",
    ),
    "squared_norm < 0": (lambda: jaxflow.Network(W, A, -A), "squared_norm.*non-neg"),
    "w has other d": (
        lambda: simulate(network=jaxflow.Network(np.ones((2, 4)), A)),
        r"4 coordinates.*w must be \(p, 3\)",
    ),
    "low-level: other d": (
        lambda: jaxflow.loss(DATA, jaxflow.Network(np.ones((2, 4)), A)),
        r"w must be \(p, 3\)",
    ),
    "negative time": (lambda: simulate(times=[-1.0, 1.0]), "times must be ≥ 0.*-1"),
    "times go back": (lambda: simulate(times=[1.0, 0.5]), "increase strictly"),
    "a time is NaN": (lambda: simulate(times=[1.0, np.nan]), "times must be finite"),
    "no times": (lambda: simulate(times=[]), "times must not be empty"),
    "times is a number": (lambda: simulate(times=1.0), "times must have 1 axis"),
    "data is arrays": (lambda: simulate(data=(X, Y)), "Dataset.*tuple"),
    "network is arrays": (lambda: simulate(network=(W, A)), "Network.*tuple"),
    "method is a name": (lambda: simulate(method="flow"), "GradientFlow.*str"),
    "stop is a number": (lambda: simulate(stop=1e-3), "LossBelow.*0.001"),
    "observable takes a name": (
        lambda: simulate(observe={"loss": lambda s: s.loss}),
        "always recorded",
    ),
    "y is all zeros": (lambda: jaxflow.Dataset(X, 0 * Y), "all zeros"),
    "x is text": (lambda: jaxflow.Dataset("abc", Y), "x must be an array.*str"),
    "x is None": (lambda: jaxflow.Dataset(None, Y), "x must be"),  # type: ignore[arg-type]
    "y is a column": (lambda: jaxflow.Dataset(X, Y[:, None]), r"y\[:, 0\]"),
    "gram is indefinite": (
        lambda: jaxflow.GramInputs([[1.0, 2.0], [2.0, 1.0]]),
        "semidefinite",
    ),
    "squared_norm with x": (
        lambda: simulate(network=jaxflow.Network(W, A, A)),
        "Leave it out",
    ),
    "observe is a list": (lambda: simulate(observe=["loss"]), "observe must map.*list"),
    "observe holds no function": (
        lambda: simulate(observe={"three": 3}),
        "'three' must be a function",
    ),
    "rtol is text": (lambda: jaxflow.GradientFlow("1e-6x"), "rtol must be a positive"),  # type: ignore[arg-type]
    "rtol is a list": (lambda: jaxflow.GradientFlow([1e-3, 1e-4]), "rtol.*one number"),  # type: ignore[arg-type]
    "rtol is inf": (lambda: jaxflow.GradientFlow(np.inf), "rtol.*finite"),
    "solver is a class": (
        lambda: jaxflow.RungeKuttaFlow(solver=diffrax.Tsit5),  # type: ignore[arg-type]
        r"solver must be an instance",
    ),
    "controller is a name": (
        lambda: jaxflow.RungeKuttaFlow(controller="pid"),  # type: ignore[arg-type]
        "controller must be an instance",
    ),
    "solver with memory": (
        lambda: simulate(
            data=jaxflow.Dataset(jaxflow.AntipodalInputs([1.0], [1.0]), [1.0, 2.0]),
            network=jaxflow.Network([[1.0]], [1.0]),
            method=jaxflow.RungeKuttaFlow(
                solver=diffrax.ReversibleHeun(), first_step=0.1
            ),
        ),
        "ReversibleHeun remembers",
    ),
    "solver with memory on orthogonal inputs": (
        lambda: simulate(
            data=jaxflow.Dataset(jaxflow.OrthogonalInputs([1.0, 1.0]), [1.0, 2.0]),
            network=jaxflow.Network([[1.0, 1.0]], [1.0]),
            method=jaxflow.RungeKuttaFlow(
                solver=diffrax.LeapfrogMidpoint(), first_step=0.1
            ),
        ),
        "LeapfrogMidpoint remembers",
    ),
    "solver without an error estimate": (
        lambda: simulate(method=jaxflow.LiteralFlow(solver=diffrax.Euler())),
        "does not estimate its error.*first_step",
    ),
    "kinks of correlated inputs": (
        lambda: simulate(
            data=jaxflow.Dataset(jaxflow.DenseInputs(X), Y),
            method=jaxflow.RungeKuttaFlow(),
        ),
        "orthogonal and antipodal.*DenseInputs.*GradientFlow.*LiteralFlow",
    ),
    "rates": (lambda: jaxflow.GradientDescent([0.1, 0.2]), "learning_rate.*one number"),  # type: ignore[arg-type]
    "rtol is 0": (lambda: jaxflow.GradientFlow(rtol=0.0), "rtol must be positive.*0"),
    "atol < 0": (lambda: jaxflow.RungeKuttaFlow(atol=-1.0), "atol must be non-neg"),
    "no first step": (
        lambda: jaxflow.RungeKuttaFlow(controller=diffrax.ConstantStepSize()),
        "first_step",
    ),
    "max_steps is 0": (lambda: jaxflow.GradientFlow(max_steps=0), "at least 1"),
    "max_steps is 1.5": (
        lambda: jaxflow.GradientFlow(max_steps=1.5),  # type: ignore[arg-type]
        "integer",
    ),
    "learning rate is 0": (
        lambda: jaxflow.GradientDescent(0.0),
        "learning_rate must be positive",
    ),
    "optimizer is a name": (
        lambda: jaxflow.GradientDescent(1.0, "adam"),
        "optax.adam.*str",
    ),
    "level is 0": (lambda: jaxflow.LossBelow(0.0), "value must be positive"),
    "tolerance < 0": (lambda: jaxflow.Stationary(-1.0), "tolerance must be positive"),
    "sample: n is 0": (lambda: sample(n=0), "n must be at least 1"),
    "sample: n is 2.5": (lambda: sample(n=2.5), "n must be an integer"),
    "sample: p is 0": (lambda: sample(p=0), "p must be at least 1"),
    "sample: d is -1": (lambda: sample(d=-1), "d must be at least 1"),
    "sample: unknown inputs": (lambda: sample(inputs="cube"), "'sphere'.*'cube'"),
    "sample: unknown targets": (lambda: sample(targets="x"), "'uniform'.*'x'"),
    "sample: unknown init": (lambda: sample(init="he"), "'gaussian'.*'he'"),
    "sample: no room": (lambda: sample(n=9), "d = 8 holds at most 8"),
    "sample: odd antipodal": (lambda: sample(n=3, inputs="antipodal"), "even"),
    "sample: inputs are an array": (lambda: sample(inputs=X), "inputs must be one of"),
    "sample: rank": (
        lambda: sample(inputs=lambda *_: jaxflow.GramInputs(np.eye(4)), d=2),
        "rank 4",
    ),
    "sample inputs: dtype": (
        lambda: jaxflow.sample_inputs(KEY, n=2, d=2, dtype=int),
        "floating point",
    ),
    "sample: dtype": (lambda: sample(dtype=int), "floating point"),
    "init: unknown layer": (
        lambda: jaxflow.Initialisation(first_layer="cauchy"),
        "'gaussian', 'uniform'; got 'cauchy'",
    ),
    "init: scale is 0": (lambda: jaxflow.Initialisation(scale=0.0), "scale"),
    "init: p > d uniform": (lambda: sample(p=9, init="uniform"), "p ≤ d"),
    "group: uneven": (
        lambda: sample(
            n=5, inputs="orthonormal", targets=jaxflow.group_targets([1.0, 1.0])
        ),
        "multiple",
    ),
    "group: mixed signs": (
        lambda: sample(
            n=40, d=40, inputs="orthonormal", init=jaxflow.GroupInitialisation()
        ),
        "one sign",
    ),
    "group: not orthogonal": (
        lambda: sample(inputs="sphere", init=jaxflow.GroupInitialisation()),
        "orthonormal inputs",
    ),
    "group: lengths differ": (
        lambda: sample(
            targets=jaxflow.group_targets([1.0, 1.0]),
            init=jaxflow.GroupInitialisation(),
        ),
        "orthonormal inputs",
    ),
    "group: cosine": (lambda: jaxflow.GroupInitialisation(cosine=0.0), "cosine"),
    "group: cosine out of reach": (
        lambda: sample(
            inputs="orthonormal",
            targets=jaxflow.group_targets([1.0, 1.0]),
            init=jaxflow.GroupInitialisation(cosine=0.1),
        ),
        "positive cone",
    ),
    "group: signs": (lambda: jaxflow.group_targets([2.0]), r"\+1 or −1"),
    "epsilon": (lambda: jaxflow.width_rule(10, 1.5), "between 0 and 1"),
}


@pytest.fixture(autouse=True)
def without_type_checks():
    """The type checks of the tests would speak before the library does."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", CASES)
def test_raises_a_value_error_that_helps(name):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_values_are_not_looked_at_while_tracing():
    @jax.jit
    def loss(x, w):
        return jaxflow.loss(jaxflow.Dataset(x, Y), jaxflow.Network(w, A))

    assert jnp.isnan(loss(jnp.full((3, 3), jnp.nan), jnp.asarray(W)))
