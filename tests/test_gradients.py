"""What a run can be differentiated by: the table of docs/gradients.md, entry by entry.

Derivatives are compared with central differences of the run itself, on problems whose
pairs stay away from their kinks.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose

import jaxflow
from tests import problems

pytestmark = pytest.mark.slow

METHODS = {
    "descent": lambda s: jaxflow.GradientDescent(0.1 * s),
    "adam": lambda s: jaxflow.GradientDescent(0.1 * s, optax.adam(1e-2)),
    "lbfgs": lambda s: jaxflow.GradientDescent(0.1 * s, optax.lbfgs()),
    "literal": lambda s: jaxflow.LiteralFlow(1e-9 * s),
    "runge-kutta": lambda s: jaxflow.RungeKuttaFlow(1e-9 * s),
    "event": lambda s: jaxflow.EventFlow(1e-9 * s),
    "filippov": lambda s: jaxflow.FilippovFlow(1e-4 * s),
    "flow": lambda s: jaxflow.GradientFlow(1e-9 * s),
}
NAMES = ("w", "a", "x", "y", "scale")


def problem(kind):
    """w, a, x, y and 1, which scales the learning rate or the tolerance. x is what the
    geometry holds: the inputs, their Gram matrix or their norms."""
    x, y, w, a = problems.without_kinks(n=6, d=9, p=3)
    if kind == "gram":
        x, w = x @ x.T, w @ x.T
    elif kind == "orthogonal":
        x, w = problems.orthogonal_array(6, 9)[0], w[:, :6]
    elif kind == "antipodal":
        x, w = np.stack(problems.antipodal_array(3, 9)[:2]), w[:, :3]
    return [*map(jnp.asarray, (w, a, x, y, 1.0))]


INPUTS: dict[str, Any] = {
    "dense": jaxflow.DenseInputs,
    "gram": jaxflow.GramInputs,
    "orthogonal": jaxflow.OrthogonalInputs,
    "antipodal": lambda norms: jaxflow.AntipodalInputs(norms[0], norms[1]),
}


def loss_after(method, kind, arguments):
    w, a, x, y, scale = arguments
    sol = jaxflow.simulate(
        jaxflow.Dataset(INPUTS[kind](x), y),
        jaxflow.Network(w, a),
        METHODS[method](scale),
        times=[0.5, 1.0],
        observe={},
    )
    return sol.loss[-1] + sol.final_loss


def directions(arguments):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=part.shape)) for part in arguments]


def differences(run, arguments):
    """The derivative along a direction of each argument."""
    run, step, found = jax.jit(run), 1e-5, []
    for place, along in enumerate(directions(arguments)):
        ends = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[place] = moved[place] + sign * step * along
            ends.append(float(run(moved)))
        found.append((ends[0] - ends[1]) / (2 * step))
    return found


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("descent", "dense"),
        ("descent", "gram"),
        ("descent", "orthogonal"),
        ("descent", "antipodal"),
        ("adam", "dense"),
        ("literal", "dense"),
        ("literal", "gram"),
        ("runge-kutta", "orthogonal"),
        ("runge-kutta", "antipodal"),
        ("flow", "orthogonal"),
    ],
)
def test_reverse_mode(method, kind):
    arguments = problem(kind)
    run = functools.partial(loss_after, method, kind)
    with jax.numpy_dtype_promotion("standard"):
        gradient = jax.jit(jax.grad(run))(arguments)
        expected = differences(run, arguments)
    for name, part, along, value in zip(
        NAMES, gradient, directions(arguments), expected, strict=True
    ):
        found = jnp.vdot(part, along)
        assert_allclose(found, value, rtol=1e-5, atol=1e-8, err_msg=name)
    # The tolerance only chooses the steps, and the clock of adam only counts them.
    assert (gradient[-1] != 0) == (method == "descent")


@pytest.mark.parametrize("kind", INPUTS)
def test_forward_mode_of_filippov(kind):
    w, a, x, y, scale = problem(kind)
    moving = [w, a, y, scale]

    def run(moving):
        w, a, y, scale = moving
        return loss_after("filippov", kind, [w, a, x, y, scale])

    along = directions(moving)

    @jax.jit
    def derivative(place):
        tangents = [
            jnp.where(place == k, part, 0.0 * part) for k, part in enumerate(along)
        ]
        return jax.jvp(run, (moving,), (tangents,))[1]

    for place, expected in enumerate(differences(run, moving)):
        assert_allclose(derivative(place), expected, rtol=1e-5, atol=1e-9)


NONE = [("event", "dense"), ("filippov", "dense"), ("flow", "dense")]


@pytest.mark.parametrize(("method", "kind"), [*NONE, ("lbfgs", "dense")])
def test_no_reverse_mode(method, kind):
    w, *rest = problem(kind)
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(Exception, match=r"no reverse-mode gradient.*GradientDescent"),
    ):
        jax.grad(lambda w: loss_after(method, kind, [w, *rest]))(w)


@pytest.mark.parametrize(("method", "kind"), [*NONE, ("filippov", "antipodal")])
def test_no_derivative_by_the_inputs(method, kind):
    w, a, x, *rest = problem(kind)

    def run(x):
        return loss_after(method, kind, [w, a, x, *rest])

    with pytest.raises(Exception, match=r"no derivative by the inputs.*GradientDesc"):
        jax.grad(run)(x)
    if method == "filippov":
        with pytest.raises(Exception, match=r"no derivative by the inputs"):
            jax.jvp(run, (x,), (jnp.ones_like(x),))


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("descent", "dense"),
        ("literal", "dense"),
        ("runge-kutta", "orthogonal"),
        ("event", "dense"),
    ],
)
def test_no_forward_mode(method, kind):
    w, *rest = problem(kind)
    with pytest.raises(ValueError, match=r"no forward-mode derivative.*jax.grad"):
        jax.jvp(lambda w: loss_after(method, kind, [w, *rest]), (w,), (w,))


@pytest.mark.parametrize("kind", INPUTS)
def test_what_is_no_run_has_both_modes(kind):
    def values(arguments):
        w, a, x, y, _ = arguments
        if kind == "gram":
            # Differences are taken in directions that are not symmetric.
            x = 0.5 * (x + x.T)
        data, network = jaxflow.Dataset(INPUTS[kind](x), y), jaxflow.Network(w, a)
        return (
            jaxflow.loss(data, network),
            jaxflow.predict(network, data),
            jaxflow.velocity(data, network),
        )

    check_grads(values, (problem(kind),), order=1, modes=["fwd", "rev"])


def test_the_sharpness_has_no_reverse_mode():
    w, a, x, y, _ = problem("dense")
    data = jaxflow.Dataset(jaxflow.DenseInputs(x), y)

    def sharpness(w):
        return jaxflow.sharpness(data, jaxflow.Network(w, a))

    along = directions([w])[0]
    step = 1e-5
    expected = (sharpness(w + step * along) - sharpness(w - step * along)) / (2 * step)
    found = jax.jvp(sharpness, (w,), (along,))[1]
    assert_allclose(found, expected, rtol=1e-4)
    with pytest.raises(Exception, match=r"sharpness has no reverse.*jax\.jvp"):
        jax.grad(sharpness)(w)
    # That it is recorded does not stand in the way of other gradients.

    def loss(w):
        sol = jaxflow.simulate(
            data,
            jaxflow.Network(w, a),
            jaxflow.GradientDescent(0.1),
            times=[0.1],
            observe={"sharpness": jaxflow.sharpness},
        )
        return sol.final_loss

    assert jnp.all(jnp.isfinite(jax.grad(loss)(w)))
