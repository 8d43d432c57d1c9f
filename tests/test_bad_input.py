"""Bad input gets an error of ours, which says what was given and what would work,
before anything is compiled.

One table over all public functions: call, type of the exception, what its message says.
"""

import functools
import importlib
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import config as jaxtyping_config

# What a type checker refuses already is meant too.
jaxflow: Any = importlib.import_module("jaxflow")
records: Any = importlib.import_module("jaxflow.records")
statistics: Any = importlib.import_module("jaxflow.statistics")
theory = jaxflow.theory

X, Y = np.eye(3), np.ones(3)
W, A = np.ones((2, 3)), np.ones(2)
DATA, NETWORK = jaxflow.Dataset(X, Y), jaxflow.Network(W, A)
NARROW = jaxflow.Network(np.ones((2, 4)), A)
ORTHOGONAL = jaxflow.Dataset(jaxflow.OrthogonalInputs([1.0, 2.0]), [1.0, -1.0])
GRAM = jaxflow.GramInputs(np.eye(3), dimension=5)
FLOW, DESCENT = jaxflow.GradientFlow(), jaxflow.GradientDescent()
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
SHORT_KEY = jnp.zeros(3, np.uint32)
MOMENTS = theory.NeuronMoments(*map(jnp.asarray, [10.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
GROUP = theory.GroupFlow(10.0)
GAUSSIAN = jaxflow.Initialisation()
DEVICE = jax.local_devices()[0]


def simulate(data=DATA, network=NETWORK, method=FLOW, times=(1.0,), **kwargs):
    return jaxflow.simulate(data, network, method, times=times, **kwargs)


def sample_problem(key=KEY, **kwargs):
    return jaxflow.sample_problem(key, **{"n": 4, "d": 8, "p": 2, **kwargs})


def sample_inputs(key=KEY, **kwargs):
    return jaxflow.sample_inputs(key, **{"n": 4, "d": 8, **kwargs})


def simulate_ensemble(key=KEY, **kwargs):
    settings = {"n": 4, "d": 8, "p": 2, "seeds": 1, "method": DESCENT, "times": [1.0]}
    return jaxflow.simulate_ensemble(key, **{**settings, **kwargs})


def open_folder(*args, **kwargs):
    with records.open_folder(*args, **kwargs):
        pass


def within_jit(function, *args):
    """Shapes alone, as jit sees them."""
    return jax.eval_shape(function, *args)


def shaped(*shape, dtype=float):
    return jax.ShapeDtypeStruct(shape, dtype)


def holed(array, value):
    copy = np.array(array)
    copy.flat[-1] = value
    return copy


class Case(NamedTuple):
    """A call that must fail. `of`: the public callable that it is a case of."""

    of: str
    call: Any
    message: str
    error: type[Exception] = ValueError
    # Single operations may be compiled before: those of a generator, where a law must
    # be called to be refused, or what a run is made of, where it must be traced.
    small: bool = False


def each(names: str, call: Any, message: str) -> list[Case]:
    """The same for several functions of one kind."""
    cases = []
    for name in names.split():
        function = functools.reduce(getattr, name.split("."), jaxflow)
        cases.append(Case(name, functools.partial(call, function), message))
    return cases


CASES = [
    # What is trained.
    Case("Dataset", lambda: jaxflow.Dataset(X, np.ones(4)), "3 examples.*4"),
    Case("Dataset", lambda: jaxflow.Dataset(Y, Y), r"x must have 2 axis.*\(3,\)"),
    Case("Dataset", lambda: jaxflow.Dataset(X[None], Y), "jax.vmap"),
    Case("Dataset", lambda: jaxflow.Dataset(np.ones((0, 3)), []), "x must not be emp"),
    Case("Dataset", lambda: jaxflow.Dataset(np.ones((3, 0)), Y), "x must not be empty"),
    Case("Dataset", lambda: jaxflow.Dataset(holed(X, np.nan), Y), r"x must be fi.*nan"),
    Case("Dataset", lambda: jaxflow.Dataset(X, holed(Y, np.inf)), r"y must be fi.*inf"),
    Case("Dataset", lambda: jaxflow.Dataset(X * 1j, Y), "real numbers.*complex"),
    Case("Dataset", lambda: jaxflow.Dataset(holed(X, 0.0), Y), r"x\[2\] is the zero"),
    Case("Dataset", lambda: jaxflow.Dataset(X, 0 * Y), "all zeros"),
    Case("Dataset", lambda: jaxflow.Dataset("abc", Y), "x must be an array.*str"),
    Case("Dataset", lambda: jaxflow.Dataset(None, Y), "x must be an array.*NoneType"),
    Case("Dataset", lambda: jaxflow.Dataset(X, Y[:, None]), r"y\[:, 0\]"),
    Case("Dataset", lambda: jaxflow.Dataset(X, [2**70] * 3), "y must be an array"),
    Case("Dataset", lambda: jaxflow.Dataset(X, jnp.ones), "y must be an array of num"),
    Case(
        "Dataset",
        lambda: within_jit(lambda y: jaxflow.Dataset(X, y), shaped(4)),
        "3 examples.*4",
    ),
    Case("DenseInputs", lambda: jaxflow.DenseInputs([[1.0, 0], [0, 0]]), "zero vector"),
    Case("DenseInputs", lambda: jaxflow.DenseInputs(KEYS), "x must "),
    Case("GramInputs", lambda: jaxflow.GramInputs(W), r"square.*\(2, 3\)"),
    Case("GramInputs", lambda: jaxflow.GramInputs(np.triu(X + 1)), "symmetric"),
    Case("GramInputs", lambda: jaxflow.GramInputs(holed(X, 0.0)), "zero vector"),
    Case("GramInputs", lambda: jaxflow.GramInputs(-X), "diagonal of gram.*positive"),
    Case("GramInputs", lambda: jaxflow.GramInputs([[1.0, 2], [2, 1]]), "semidefinite"),
    Case("OrthogonalInputs", lambda: jaxflow.OrthogonalInputs([1.0, 0]), "norms.*posi"),
    Case("OrthogonalInputs", lambda: jaxflow.OrthogonalInputs(3), "norms must have 1"),
    Case("AntipodalInputs", lambda: jaxflow.AntipodalInputs([1.0], [1.0, 2]), "pair"),
    Case("AntipodalInputs", lambda: jaxflow.AntipodalInputs([1.0], [-1.0]), "negative"),
    Case("Network", lambda: jaxflow.Network(W, np.ones(3)), "2 neurons.*3"),
    Case("Network", lambda: jaxflow.Network(np.ones((0, 3)), []), "w must not be empt"),
    Case("Network", lambda: jaxflow.Network(holed(W, np.nan), A), "w must be finite"),
    Case("Network", lambda: jaxflow.Network(W, holed(A, np.nan)), "a must be finite"),
    Case("Network", lambda: jaxflow.Network(W, A, np.ones(3)), r"\(2,\).*\(3,\)"),
    Case("Network", lambda: jaxflow.Network(W, A, -A), "squared_norm.*non-neg"),
    *each(
        "loss residuals squared_norms velocity Snapshot.of "
        "theory.check_assumptions theory.curvature theory.curvature_matrix "
        "sharpness tangent_kernel theory.limiting_curvature theory.sampled_limit",
        lambda function: function(DATA, NARROW),
        r"4 coordinates.*w must be \(p, 3\)",
    ),
    *each(
        "loss residuals squared_norms velocity Snapshot.of "
        "theory.check_assumptions theory.curvature theory.curvature_matrix "
        "sharpness tangent_kernel theory.limiting_curvature theory.sampled_limit",
        lambda function: function((X, Y), NETWORK),
        r"data must be a Dataset, such as .*got tuple",
    ),
    Case("predict", lambda: jaxflow.predict(NETWORK, W[:, :2]), r"\(2, 2\).*\(m, 3\)"),
    Case("predict", lambda: jaxflow.predict(NARROW, DATA), r"w must be \(p, 3\)"),
    Case("predict", lambda: jaxflow.predict(NETWORK, X[0]), "x must have 2.*leading"),
    Case("predict", lambda: jaxflow.predict(NETWORK, holed(X, np.inf)), "must be fin"),
    Case(
        "predict",
        lambda: jaxflow.predict(NETWORK, ORTHOGONAL.inputs),
        r"OrthogonalInputs has 2 coordinates.*\(2, 3\)",
    ),
    Case("predict", lambda: jaxflow.predict(DATA, NETWORK), "network must be a Netw"),
    Case(
        "loss", lambda: jaxflow.loss(DATA, (W, A)), "network must be a Network.*tuple"
    ),
    Case(
        "Snapshot.of",
        lambda: jaxflow.Snapshot.of(DATA, NETWORK, interaction=-1.0),
        "interaction must be non-negative",
    ),
    Case(
        "tangent_kernel",
        lambda: jaxflow.tangent_kernel(DATA, NETWORK, rounding=-1.0),
        "rounding must be non-negative",
    ),
    Case(
        "sharpness",
        lambda: jaxflow.sharpness(DATA),
        "sharpness takes a Snapshot, or.*a Dataset and a NoneType",
        TypeError,
    ),
    Case(
        "theory.limiting_curvature",
        lambda: theory.limiting_curvature(DATA),
        "takes a Snapshot, or a Dataset and a Network; got a Dataset",
        TypeError,
    ),
    Case(
        "theory.limiting_curvature_law",
        lambda: theory.limiting_curvature_law(20, 30),
        "n must be at least 50.*20",
    ),
    Case(
        "theory.limiting_curvature_constant",
        lambda: theory.limiting_curvature_constant(-1.0),
        "c must be positive",
    ),
    # One run.
    Case("simulate", lambda: simulate(network=NARROW), r"4 coordinates.*\(p, 3\)"),
    Case("simulate", lambda: simulate(times=[-1.0, 1.0]), "times must be ≥ 0.*-1"),
    Case("simulate", lambda: simulate(times=[1.0, 0.5]), "increase strictly"),
    Case("simulate", lambda: simulate(times=[1.0, np.nan]), "times must be finite"),
    Case("simulate", lambda: simulate(times=[]), "times must not be empty"),
    Case("simulate", lambda: simulate(times=1.0), "times must have 1 axis"),
    Case("simulate", lambda: simulate(times="now"), "times must be an array"),
    Case("simulate", lambda: simulate(data=(X, Y)), "Dataset.*tuple"),
    Case("simulate", lambda: simulate(network=(W, A)), "Network.*tuple"),
    Case("simulate", lambda: simulate(method="flow"), "GradientFlow.*str"),
    Case(
        "simulate",
        lambda: simulate(method=jaxflow.GradientFlow),
        r"method must be a.*class GradientFlow.*GradientFlow\(…\)",
    ),
    Case("simulate", lambda: simulate(times=100.0), r"list: times=\[100.0\]"),
    Case("simulate", lambda: simulate(stop=1e-3), "LossBelow.*0.001"),
    Case("simulate", lambda: simulate(stop=[jaxflow.LossBelow]), "must be a condition"),
    Case("simulate", lambda: simulate(observe=["loss"]), "observe must map.*list"),
    Case("simulate", lambda: simulate(observe={"r": 3}), "'r' must be a function"),
    Case("simulate", lambda: simulate(observe={3: jnp.sum}), "must be text.*got 3"),
    Case("simulate", lambda: simulate(observe={"loss": jnp.sum}), "always recorded"),
    Case(
        "simulate",
        lambda: simulate(method=DESCENT, observe={"r": lambda s: "text"}),
        "'r' must return numbers, got 'text'",
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(method=DESCENT, observe={"r": lambda s: None}),
        "'r' must return an array of numbers.*None",
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(network=jaxflow.Network(W, A, A), data=jaxflow.Dataset(X, Y)),
        "Leave it out",
        # A dataset is made, and its geometry chosen.
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(method=jaxflow.GradientDescent(1e-12), times=[1e6]),
        r"takes 1e\+18 steps.*Take a larger learning_rate",
    ),
    Case(
        "simulate",
        lambda: within_jit(lambda t: simulate(times=t).loss, shaped(2, 3)),
        "times must have 1 axis",
    ),
    Case(
        "simulate",
        lambda: simulate(
            data=jaxflow.Dataset(jaxflow.AntipodalInputs([1.0], [1.0]), [1.0, 2.0]),
            network=jaxflow.Network([[1.0]], [1.0]),
            method=jaxflow.RungeKuttaFlow(
                solver=diffrax.ReversibleHeun(), first_step=0.1
            ),
        ),
        "ReversibleHeun remembers",
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(
            data=ORTHOGONAL,
            network=jaxflow.Network([[1.0, 1.0]], [1.0]),
            method=jaxflow.RungeKuttaFlow(
                solver=diffrax.LeapfrogMidpoint(), first_step=0.1
            ),
        ),
        "LeapfrogMidpoint remembers",
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(method=jaxflow.LiteralFlow(solver=diffrax.Euler())),
        "does not estimate its error.*first_step",
        small=True,
    ),
    Case(
        "simulate",
        lambda: simulate(
            data=jaxflow.Dataset(jaxflow.DenseInputs(X), Y),
            method=jaxflow.RungeKuttaFlow(),
        ),
        "orthogonal and antipodal.*DenseInputs.*GradientFlow.*LiteralFlow",
        small=True,
    ),
    # How the weights move, and when a run ends.
    Case("GradientFlow", lambda: jaxflow.GradientFlow("1e-6"), "rtol must be a posi"),
    Case(
        "GradientFlow", lambda: jaxflow.GradientFlow([1e-3, 1e-4]), "rtol.*one number"
    ),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(np.inf), "rtol.*finite"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(1j), "rtol must be a positive"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(None), "positive number.*None"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(rtol=0.0), "rtol must be pos.*0"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(max_steps=0), "at least 1"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(max_steps=1.5), "integer"),
    Case("GradientFlow", lambda: jaxflow.GradientFlow(max_steps=True), "integer.*True"),
    Case(
        "RungeKuttaFlow",
        lambda: jaxflow.RungeKuttaFlow(solver=diffrax.Tsit5),
        r"solver must be an instance",
    ),
    Case(
        "RungeKuttaFlow",
        lambda: jaxflow.RungeKuttaFlow(controller="pid"),
        "controller must be an instance",
    ),
    Case(
        "RungeKuttaFlow",
        lambda: jaxflow.RungeKuttaFlow(controller=diffrax.ConstantStepSize()),
        "first_step",
    ),
    Case(
        "LiteralFlow", lambda: jaxflow.LiteralFlow(first_step=0), "first_step must be"
    ),
    Case(
        "FilippovFlow", lambda: jaxflow.FilippovFlow([1.0, 2.0]), "tolerance.*one num"
    ),
    Case("FilippovFlow", lambda: jaxflow.FilippovFlow(True), "tolerance.*True"),
    Case("FilippovFlow", lambda: jaxflow.FilippovFlow(largest_step=-1), "largest_step"),
    Case(
        "FilippovFlow",
        lambda: jaxflow.FilippovFlow(sliding_candidates="all"),
        "sliding_candidates must be an integer, got 'all'",
    ),
    Case(
        "EventFlow", lambda: jaxflow.EventFlow("tight"), "rtol must be a positive num"
    ),
    Case("EventFlow", lambda: jaxflow.EventFlow(max_steps=0), "max_steps must be at l"),
    Case("GradientDescent", lambda: jaxflow.GradientDescent([0.1, 0.2]), "one number"),
    Case(
        "GradientDescent", lambda: jaxflow.GradientDescent(0.0), "learning_rate.*posi"
    ),
    Case("GradientDescent", lambda: jaxflow.GradientDescent(True), "number, got True"),
    Case(
        "GradientDescent", lambda: jaxflow.GradientDescent("0.1"), "number, got '0.1'"
    ),
    Case("GradientDescent", lambda: jaxflow.GradientDescent(np.nan), "positive.*nan"),
    Case("GradientDescent", lambda: jaxflow.GradientDescent(1.0, "adam"), "optax.*str"),
    Case(
        "GradientDescent",
        lambda: jaxflow.GradientDescent(optax.constant_schedule(0.1)),
        r"function.*GradientDescent\(optax.sgd\(schedule\)\)",
    ),
    Case(
        "GradientDescent",
        lambda: jaxflow.GradientDescent(optax.sgd(0.1), optax.sgd(0.1)),
        "two optax.*chain",
    ),
    Case(
        "GradientDescent",
        lambda: jaxflow.GradientDescent(count_crossings="no"),
        "count_crossings must be True or False, got 'no'",
    ),
    Case(
        "GradientDescent",
        lambda: within_jit(jaxflow.GradientDescent, shaped(2)),
        "learning_rate must be one number",
    ),
    Case(
        "GradientDescent",
        lambda: within_jit(jaxflow.GradientDescent, shaped(dtype=bool)),
        "learning_rate must be a positive number, got dtype bool",
    ),
    Case("LossBelow", lambda: jaxflow.LossBelow(0.0), "value must be positive"),
    Case("LossBelow", lambda: jaxflow.LossBelow("low"), "value must be a positive num"),
    Case("LossFallen", lambda: jaxflow.LossFallen(1.0), r"to must lie .* got 1\.0"),
    Case("LossFallen", lambda: jaxflow.LossFallen(-1e-3), "to must lie between 0 and"),
    Case("Stationary", lambda: jaxflow.Stationary(-1.0), "tolerance must be positive"),
    Case(
        "certificate", lambda: jaxflow.certificate("y", 3), "targets must be an array"
    ),
    Case("certificate", lambda: jaxflow.certificate(Y, 0), "n must be positive"),
    # Random problems.
    Case("sample_problem", lambda: sample_problem(n=0), "n must be at least 1"),
    Case(
        "sample_problem", lambda: sample_problem(n=-4), "n must be at least 1, got -4"
    ),
    Case("sample_problem", lambda: sample_problem(n=2.5), "n must be an integer"),
    Case("sample_problem", lambda: sample_problem(n=2**31), "n must be at most 2147"),
    Case("sample_problem", lambda: sample_problem(p=0), "p must be at least 1"),
    Case("sample_problem", lambda: sample_problem(d=-1), "d must be at least 1"),
    Case("sample_problem", lambda: sample_problem(d=2**70), "d must be at most 9007"),
    Case("sample_problem", lambda: sample_problem(inputs="cube"), "'sphere'.*'cube'"),
    Case("sample_problem", lambda: sample_problem(targets="x"), "'uniform'.*'x'"),
    Case("sample_problem", lambda: sample_problem(init="hi"), "'gaussian'.*'hi'"),
    Case("sample_problem", lambda: sample_problem(inputs=3), "inputs must be one of"),
    Case("sample_problem", lambda: sample_problem(n=None), "n must be given"),
    Case("sample_problem", lambda: sample_problem(d=None), "d must be given"),
    Case("sample_problem", lambda: sample_problem(bias=-1.0), "bias must be non-neg"),
    Case("sample_problem", lambda: sample_problem(bias=[0.1]), "bias must be one num"),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=X),
        "inputs holds 3 examples, but n = 4 was given. Leave n out",
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(n=3, inputs=X),
        "inputs lies in dimension 3, but d = 8 was given. Leave d out",
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(n=None, d=None, inputs=X, targets=np.ones(4)),
        "inputs holds 3 examples but targets holds 4",
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(
            n=None, d=None, inputs=jaxflow.OrthogonalInputs(Y), targets=Y
        ),
        "d must be given, unless",
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(n=None, d=2, inputs=jaxflow.OrthogonalInputs(Y)),
        "dimension = 2 holds.*the inputs have 3",
        small=True,
    ),
    Case("sample_problem", lambda: sample_problem(targets=Y), "targets holds 3 exam"),
    Case(
        "sample_problem",
        lambda: sample_problem(n=None, inputs=holed(X, 0.0), targets=Y),
        r"x\[2\] is the zero vector",
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(targets=lambda key, n, dtype: np.ones(n)),
        r"\(key, inputs, dtype\).*got one \(key, n, dtype\).*inputs.num_examples",
    ),
    Case("sample_problem", lambda: sample_problem(init=NETWORK), "init must be one of"),
    Case("sample_problem", lambda: sample_problem(dtype=int), "floating point"),
    Case("sample_problem", lambda: sample_problem(dtype="number"), "dtype.*'number'"),
    Case("sample_problem", lambda: sample_problem(epsilon="a"), "epsilon.*'a'"),
    Case(
        "sample_problem", lambda: sample_problem(epsilon=[0.1]), "epsilon.*one number"
    ),
    Case("sample_problem", lambda: sample_problem(0), "jax.random.key.*got 0"),
    Case("sample_problem", lambda: sample_problem(KEYS), r"one key.*batch.*\(3,\)"),
    Case("sample_problem", lambda: sample_problem(SHORT_KEY), r"\(2,\) in.*\(3,\)"),
    Case(
        "sample_problem",
        lambda: sample_problem(n=9),
        "d = 8 holds at most 8",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(n=3, inputs="antipodal"),
        "even",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=lambda *_: jaxflow.GramInputs(np.eye(4)), d=2),
        "rank 4",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=lambda *_: None),
        "law inputs must return.*None",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=lambda *_: np.ones((4, 7))),
        r"law inputs must return.*\(4, 8\), got shape \(4, 7\)",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=lambda *_: jaxflow.OrthogonalInputs(Y)),
        "n = 4 inputs, got OrthogonalInputs with 3",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(inputs=lambda *_: jaxflow.DenseInputs(np.ones((4, 7)))),
        "d = 8 dimensions, got 7",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(targets=lambda *_: None),
        "law targets must return.*None",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(targets=lambda *_: np.ones(5)),
        r"law targets must return an array of shape \(4,\), got shape \(5,\)",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(init=lambda *_: None),
        "law init must return a jaxflow.Network.*NoneType",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(init=lambda *_: W),
        "law init must return a jaxflow.Network.*ndarray",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(init=lambda *_: jaxflow.Network(np.ones((3, 4)), Y)),
        "p = 2 neurons, got 3",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(init=lambda *_: jaxflow.Network(np.ones((2, 9)), A)),
        "9 coordinates",
        small=True,
    ),
    Case(
        "sample_problem",
        lambda: sample_problem(p=9, init="uniform"),
        "p ≤ d",
        small=True,
    ),
    Case("sample_inputs", lambda: sample_inputs(dtype=int), "floating point"),
    Case("sample_inputs", lambda: sample_inputs(None), "jax.random.key.*None"),
    Case("sample_inputs", lambda: sample_inputs(n=-1), "n must be at least 1, got -1"),
    Case("sample_inputs", lambda: sample_inputs(inputs=3), "inputs must be one of"),
    Case("uniform_targets", lambda: jaxflow.uniform_targets(7, 4, float), "key.*got 7"),
    Case(
        "uniform_targets", lambda: jaxflow.uniform_targets(KEY, -4, float), "n must be"
    ),
    Case("uniform_targets", lambda: jaxflow.uniform_targets(KEY, 4, int), "floating"),
    Case("TeacherTargets", lambda: jaxflow.TeacherTargets(0), "width must be at least"),
    Case(
        "TeacherTargets", lambda: jaxflow.TeacherTargets(2.0), "width must be an integ"
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(2, first_layer="he"),
        "first_layer must be one of 'gaussian', 'orthogonal'; got 'he'",
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(2, second_layer=None),
        "second_layer must be an array of numbers, got NoneType",
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(2, first_layer=X),
        r"first_layer must have one row for each of the 2 neurons, got shape \(3, 3\)",
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(2, noise=-1.0),
        "noise must be non-negative",
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(2)(KEY, X, float),
        "inputs must be an AbstractInputs, such as jaxflow.DenseInputs",
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(3, first_layer=X)(KEY, GRAM, float),
        r"d = 5, got shape \(3, 3\)",
        small=True,
    ),
    Case(
        "TeacherTargets",
        lambda: jaxflow.TeacherTargets(6, first_layer="orthogonal")(KEY, GRAM, float),
        "d = 5 holds at most 5 orthogonal directions, but 6",
        small=True,
    ),
    Case(
        "sample_preactivations",
        lambda: jaxflow.sample_preactivations(KEY, GRAM, 0),
        "directions must be at least 1",
    ),
    Case(
        "sample_preactivations",
        lambda: jaxflow.sample_preactivations(KEY, X, 2),
        "inputs must be an AbstractInputs",
    ),
    Case(
        "sample_preactivations",
        lambda: jaxflow.sample_preactivations(KEY, ORTHOGONAL.inputs, np.ones((2, 1))),
        r"directions of shape \(2, 1\) lie in dimension 1, but the inputs span up to 2",
    ),
    Case("group_targets", lambda: jaxflow.group_targets([2.0]), r"\+1 or −1"),
    Case(
        "group_targets", lambda: jaxflow.group_targets([1.0], [-1.0]), "sizes must be"
    ),
    Case(
        "group_targets", lambda: jaxflow.group_targets([1.0], [1.0, 2]), "one entry per"
    ),
    Case(
        "group_targets",
        lambda: sample_problem(
            n=5, inputs="orthonormal", targets=jaxflow.group_targets([1.0, 1.0])
        ),
        "multiple",
        small=True,
    ),
    Case(
        "Initialisation", lambda: jaxflow.Initialisation("cauchy"), "'uniform'; got 'c"
    ),
    Case(
        "Initialisation", lambda: jaxflow.Initialisation(scale=0.0), "scale must be po"
    ),
    Case(
        "Initialisation",
        lambda: jaxflow.Initialisation(scale=[1.0, 2.0]),
        "scale.*one number",
    ),
    Case(
        "Initialisation",
        lambda: sample_problem(init=jaxflow.Initialisation(scale=1e-40), dtype="f4"),
        "scale must be a number that float32 can hold, between 1.18e-38",
        small=True,
    ),
    Case("GroupInitialisation", lambda: jaxflow.GroupInitialisation(0.0), "cosine"),
    Case(
        "GroupInitialisation", lambda: jaxflow.GroupInitialisation("a"), "cosine.*'a'"
    ),
    Case(
        "GroupInitialisation", lambda: jaxflow.GroupInitialisation(1.5), "cosine.*1.5"
    ),
    Case(
        "GroupInitialisation",
        lambda: sample_problem(
            n=40, d=40, inputs="orthonormal", init=jaxflow.GroupInitialisation()
        ),
        "one sign",
        small=True,
    ),
    Case(
        "GroupInitialisation",
        lambda: sample_problem(inputs="sphere", init=jaxflow.GroupInitialisation()),
        "orthonormal inputs",
        small=True,
    ),
    Case(
        "GroupInitialisation",
        lambda: sample_problem(
            targets=jaxflow.group_targets([1.0, 1.0]),
            init=jaxflow.GroupInitialisation(),
        ),
        "orthonormal inputs",
        small=True,
    ),
    Case(
        "GroupInitialisation",
        lambda: sample_problem(
            inputs="orthonormal",
            targets=jaxflow.group_targets([1.0, 1.0]),
            init=jaxflow.GroupInitialisation(cosine=0.1),
        ),
        "positive cone",
        small=True,
    ),
    Case(
        "CoveredInitialisation", lambda: jaxflow.CoveredInitialisation(3), "init.*got 3"
    ),
    Case(
        "CoveredInitialisation",
        lambda: jaxflow.CoveredInitialisation(max_draws=0),
        "max_draws must be at least 1",
    ),
    Case(
        "CoveredInitialisation",
        lambda: sample_problem(init=jaxflow.CoveredInitialisation(lambda *_: A)),
        "law init must return a jaxflow.Network",
        small=True,
    ),
    Case("width_rule", lambda: jaxflow.width_rule(10, 1.5), "between 0 and 1"),
    Case("width_rule", lambda: jaxflow.width_rule(10, "a"), "epsilon.*'a'"),
    Case("width_rule", lambda: jaxflow.width_rule(10.5), "n must be an integer"),
    # Many runs.
    Case(
        "run_key", lambda: jaxflow.run_key(KEY, 1.5, 2, 3, 4), "n must be an int.*1.5"
    ),
    Case("open_ensemble", lambda: jaxflow.open_ensemble(""), "must not be empty"),
    Case("open_ensemble", lambda: jaxflow.open_ensemble(3), "must be a path.*got 3"),
    Case("carry_final", lambda: jaxflow.carry_final({}), "Dataset of an ens.*got dict"),
    Case("run_key", lambda: jaxflow.run_key(KEY, True, 2, 3, 4), "n must be an.*True"),
    Case("run_key", lambda: jaxflow.run_key(KEY, -1, 2, 3, 4), "n must lie between 1"),
    Case("run_key", lambda: jaxflow.run_key(KEY, 1, 2**70, 3, 4), "d must lie between"),
    Case(
        "run_key", lambda: jaxflow.run_key(KEY, 1, 2, 3, -1), "seed must lie betw.* 0"
    ),
    Case("run_key", lambda: jaxflow.run_key(0, 1, 2, 3, 4), "key must be a jax.*got 0"),
    Case("run_key", lambda: jaxflow.run_key(KEYS, 1, 2, 3, 4), "one key.*batch"),
    Case("run_key", lambda: jaxflow.run_key(SHORT_KEY, 1, 2, 3, 4), "key must be one"),
    *(
        Case("simulate_ensemble", functools.partial(simulate_ensemble, **change), says)
        for change, says in (
            ({"key": 0}, "jax.random.key.*got 0"),
            ({"key": KEYS}, "one key.*batch"),
            ({"key": SHORT_KEY}, "key must be one key"),
            ({"n": -3}, "n must be at least 1, got -3"),
            ({"n": [4, 4]}, "must not repeat"),
            ({"n": None}, "n must be given"),
            ({"n": [3, 4], "inputs": X}, r"inputs holds 3 .*n = \[3, 4\] was given"),
            ({"n": 3, "d": [3, 8], "inputs": X}, r"dimension 3, but d = \[3, 8\]"),
            ({"targets": Y}, "targets holds 3 examples, but n = 4 was given"),
            ({"n": 3, "targets": 0 * Y}, "y must not be all zeros"),
            ({"targets": lambda key, n, dtype: Y}, r"law \(key, inputs, dtype\)"),
            ({"bias": "a"}, "bias must be a"),
            ({"n": []}, "n must hold at least one number"),
            ({"n": [3, 4], "d": [8, 9, 10], "grid": "zip"}, "equal lengths"),
            ({"d": 2**70}, "d must be at most 4294967295"),
            ({"p": 2.0}, "p must be an integer"),
            ({"p": lambda n: "wide"}, r"p\(n\) must be an integer, got 'wide'"),
            ({"seeds": 0}, "seeds must be at least 1"),
            ({"seeds": [1.0]}, "seeds must be integers"),
            ({"seeds": [True]}, "seeds must be integers"),
            ({"seeds": [-1]}, "seeds must be integers ≥ 0"),
            ({"seeds": [2**32]}, "at most 4294967295"),
            ({"seeds": [3, np.int64(3)]}, "seeds must be different"),
            ({"method": jaxflow.GradientFlow}, "method must be a method"),
            ({"method": {1: DESCENT}}, "method must be a method.*1"),
            ({"method": {}}, "at least one method"),
            ({"method": jaxflow.GradientDescent(1e-12), "times": [1e6]}, "steps"),
            ({"times": [2.0, 1.0]}, "increase strictly"),
            ({"times": lambda n, d, p: None}, "times must be an array.*NoneType"),
            ({"stop": "never"}, "stop must be a condition.*'never'"),
            ({"observe": {"t": jnp.sum}}, "'t' is a variable of every ensemble"),
            ({"observe": {3: jnp.sum}}, "must be text.*got 3"),
            ({"observe": {"": jnp.sum}}, "must be text"),
            ({"observe": {"x": jnp.sum, "x_0": jnp.sum}}, "'x_0'.*axis of 'x'"),
            ({"inputs": "cube"}, "inputs must be one of.*'cube'"),
            ({"targets": None}, "targets must be one of.*None"),
            ({"init": A}, "init must be one of"),
            ({"epsilon": "a"}, "epsilon.*'a'"),
            ({"epsilon": 2}, "epsilon must lie between 0 and 1.*2"),
            ({"dtype": "int8"}, "dtype must be floating point, got int8"),
            ({"grid": "cube"}, "grid must be one of 'product', 'zip'; got 'cube'"),
            ({"folder": ""}, "folder must not be empty"),
            ({"folder": 3}, "folder must be a path.*got 3"),
            ({"folder": b"records"}, "folder must be a path.*got b'records'"),
            ({"folder": "~no-such-user/x"}, "no home directory"),
            ({"memory": "all"}, "memory must be a positive number, got 'all'"),
            ({"memory": 0}, "memory must be positive"),
            ({"devices": []}, "at least one jax device"),
            ({"devices": ["cpu"]}, "devices must be jax devices.*got str"),
            ({"devices": DEVICE}, "devices must be a list of jax devices"),
            ({"devices": [DEVICE, DEVICE]}, "devices must be different"),
            ({"lockstep": "yes"}, "lockstep must be True or False, got 'yes'"),
            ({"lockstep": 1}, "lockstep must be True or False, got 1"),
            ({"progress": "bar"}, "progress must be True or False.*'bar'"),
        )
    ),
    Case(
        "simulate_ensemble",
        lambda: within_jit(lambda key: simulate_ensemble(key).loss, KEY),
        "outside jax.jit",
    ),
    # The statements of the paper.
    *each(
        "largest_kernel_eigenvalue smallest_kernel_eigenvalue "
        "theory.balance theory.curvature_lower_bound theory.curvature_upper_bound "
        "theory.curvature_floor theory.unfitted_loss theory.extinction_time "
        "theory.ceiling_constant theory.printed.curvature_lower_bound "
        "theory.printed.curvature_upper_bound theory.printed.first_upper_bound "
        "theory.printed.extinction_time theory.printed.ceiling_constant",
        lambda function: function((DATA, NETWORK)),
        r"s must be a Snapshot, such as jaxflow.Snapshot.of\(.*got tuple",
    ),
    *each(
        "theory.dimension_rule theory.dimension_constant",
        lambda function: function(4.0, -4.0, 0.1),
        "must be positive|must lie between",
    ),
    *each(
        "theory.theorem_width theory.corollary_width theory.sufficient_width "
        "theory.necessary_width theory.printed.necessary_width "
        "theory.examples_for_width",
        lambda function: function(-1, 0.1),
        "must be positive and finite, got -1",
    ),
    *each(
        "theory.theorem_width theory.corollary_width theory.sufficient_width "
        "theory.necessary_width theory.printed.necessary_width "
        "theory.examples_for_width",
        lambda function: function(10, 1.5),
        "epsilon must lie between 0 and 1",
    ),
    *each(
        "theory.interaction_limit theory.rate_constant theory.proved_rate_constant "
        "theory.printed.proved_rate_constant",
        lambda function: function(np.ones(3), np.ones(4)),
        r"norms \(3,\), targets \(4,\)",
    ),
    *each(
        "theory.interaction_limit theory.rate_constant theory.proved_rate_constant "
        "theory.printed.proved_rate_constant",
        lambda function: function(np.zeros(3), np.ones(3)),
        "norms must be positive",
    ),
    *each(
        "theory.curvature_mean theory.orthogonal_limit "
        "theory.printed.orthogonal_deviation",
        lambda function: function(DATA, GAUSSIAN),
        "moments must be a NeuronMoments.*got Initialisation",
    ),
    *each(
        "theory.collapse_range theory.printed.collapse_range "
        "theory.printed.proof_collapse_range",
        lambda function: function(-np.ones((2, 2)), 1.0),
        "preactivations must be positive",
    ),
    *each(
        "theory.collapse_range theory.printed.collapse_range "
        "theory.printed.proof_collapse_range",
        lambda function: function(np.ones((2, 3)), 1.0),
        r"\(2, 2\), got shape \(2, 3\)",
    ),
    *each(
        "theory.coverage_lower_bound theory.coverage_upper_bound theory.time_scale",
        lambda function: function(-1, 5),
        "n must be positive and finite, got -1",
    ),
    *each(
        "theory.coverage_lower_bound theory.coverage_upper_bound theory.time_scale",
        lambda function: function(np.ones(3), np.ones(4)),
        r"shapes must fit together, got n \(3,\), p \(4,\)",
    ),
    *each(
        "theory.coverage_failure theory.coverage_probability",
        lambda function: function(3, 4, 5.5),
        "p must be an integer, got 5.5",
    ),
    *each(
        "theory.coverage_failure theory.coverage_probability",
        lambda function: function(-3, 4, 5),
        "positive must be non-negative",
    ),
    *each(
        "theory.coverage_failure theory.coverage_probability",
        lambda function: function(np.ones(3), np.ones(4), 5),
        r"one shape, got \(3,\) and \(4,\)",
    ),
    *each(
        "theory.coverage_failure theory.coverage_probability",
        lambda function: function(3, 4, 5, sign=0.0),
        "sign must lie between 0 and 1",
    ),
    *each(
        "theory.window_constant",
        lambda function: function(2),
        "epsilon must lie between 0 and 1",
    ),
    *each(
        "theory.window theory.printed.window",
        lambda function: function(0.1, 1.0, 0.0),
        "log_np must be positive",
    ),
    *each(
        "theory.printed.window_constant",
        lambda function: function(0.1, -1.0),
        "target_norm must be positive",
    ),
    *each(
        "theory.transition_time",
        lambda function: function(0),
        "target_norm must be positive",
    ),
    *each(
        "theory.printed.cosine theory.printed.squared_norm",
        lambda function: function(1.0, 10, 2, 0.5),
        "flow must be a GroupFlow.*got float",
    ),
    *each(
        "theory.group_bounds theory.printed.group_bounds",
        lambda function: function(10, 2.0, np.ones(10), np.ones(2)),
        "alpha must lie between 0.5 and 1.*2",
    ),
    *each(
        "theory.group_bounds theory.printed.group_bounds",
        lambda function: function(10, 0.6, np.ones((5, 2)), np.ones(2)),
        "targets must have 1 axis",
    ),
    Case("theory.GroupFlow", lambda: theory.GroupFlow(10.0, cosine=2), "cosine.*2"),
    Case("theory.GroupFlow", lambda: theory.GroupFlow(-1.0), "log_np must be positive"),
    Case("theory.GroupFlow", lambda: theory.GroupFlow("10"), "log_np.*'10'"),
    Case(
        "theory.GroupFlow", lambda: theory.GroupFlow(Y, A), "shapes must fit together"
    ),
    Case(
        "theory.GroupFlow", lambda: GROUP.time_at(2.0), "level must lie between 0 and"
    ),
    Case("theory.GroupFlow", lambda: GROUP.loss(-1.0), "tau must be non-negative"),
    Case("theory.GroupFlow", lambda: GROUP.window(1.5), "epsilon must lie between 0"),
    Case(
        "theory.neuron_moments", lambda: theory.neuron_moments("gaussian", 5), "init mu"
    ),
    Case(
        "theory.neuron_moments", lambda: theory.neuron_moments(GAUSSIAN, -5), "d must"
    ),
    Case(
        "theory.neuron_moments",
        lambda: theory.neuron_moments(jaxflow.Initialisation("uniform"), 5),
        "first_layer='gaussian'",
    ),
    Case(
        "theory.antipodal_interaction",
        lambda: theory.antipodal_interaction(np.eye(3)),
        "even number",
    ),
    Case(
        "theory.antipodal_interaction",
        lambda: theory.antipodal_interaction(np.ones((2, 4))),
        "square",
    ),
    Case(
        "theory.average_curvature",
        lambda: theory.average_curvature(np.arange(3.0), np.ones(4)),
        r"shapes \(3,\) and \(4,\)",
    ),
    Case(
        "theory.average_curvature",
        lambda: theory.average_curvature(np.arange(1.0, 4.0), np.ones(3)),
        "start at 0, got 1",
    ),
    Case(
        "theory.curvature_ceiling",
        lambda: theory.curvature_ceiling(NETWORK, 1.0),
        "s must be a Snapshot.*got Network",
    ),
    Case(
        "theory.log_ratio_curvature",
        lambda: theory.log_ratio_curvature(1.0, -1.0),
        "after must not be negative",
    ),
    Case(
        "theory.log_ratio_curvature",
        lambda: theory.log_ratio_curvature(2.0, 1.0, step=0.0),
        "step must be positive",
    ),
    Case(
        "theory.windowed_curvature",
        lambda: theory.windowed_curvature(np.arange(3.0), np.ones(4), 1.0),
        r"\(3,\) and \(4,\)",
    ),
    Case(
        "theory.mean_curvature",
        lambda: theory.mean_curvature("1", 0.5, 1.0),
        "start_loss must be a real number, got '1'",
    ),
    # Statistics.
    *(
        Case(f"statistics.{name}", functools.partial(getattr(statistics, name), *a), m)
        for name, a, m in (
            ("find_threshold", (jnp.sum, 10, 10), "low < low"),
            ("find_threshold", (jnp.sum, 10.5, 20), "low must be an integer"),
            ("find_threshold", (np.sqrt, 10, 20), "booleans of shape"),
            ("next_points", ([3.0], [], [], [], 1), "at least two distinct"),
            ("next_points", ([3.0, 4.0], [], [], [], 0), "batch must be at least 1"),
            ("power_law", ([1.0, 2.0], [[1.0, 2.0]]), "one row for each x"),
            ("power_law", ([1.0, -2.0], [[1.0], [2.0]]), "x must be positive, got -2"),
            ("compare_laws", ([1, 2, 3], [1, 2]), "shape of x"),
            ("compare_laws", ([1, 2, 2], [1, 2, 3]), "three distinct values"),
            ("compare_proportions", (1, 2, 3, 2), "between 0 and trials_2, got 3 of 2"),
            ("holm", ([0.5, 1.5],), r"\[0, 1\], got 1.5"),
            ("holm", ("p",), "p_values must be numbers"),
            ("proportion", (0.5, 2), "whole numbers, got 0.5"),
            ("proportion", (1, 2, 95), "confidence must be one number strictly betw"),
            ("fit_threshold", ([1.0, 1.0], [1, 0]), "two distinct values"),
            ("fit_threshold", ([1.0, 2.0], [1, 0, 1]), "shape|fit together"),
            ("lack_of_fit", (None, [1.0, 2.0], [0.5, 1]), "whole numbers, got 0.5"),
        )
    ),
    # Records.
    Case(
        "records.open_folder",
        lambda: open_folder("never-made", {}, part=-1),
        "part must be an integer, 0 or more",
    ),
    Case(
        "records.open_folder",
        lambda: open_folder("never-made", {"law": object()}),
        "config",
    ),
    Case("records.open_folder", lambda: open_folder(__file__, {}), "it is a file"),
    *(
        Case(
            "records.open_folder",
            functools.partial(open_folder, "never-made", config),
            message,
        )
        for config, message in (
            ({1: 2}, "config must be JSON, whose keys are strings, got 1"),
            ({"a": [{"b": {True: 0}}]}, "keys are strings, got True"),
            ({"a": ({None: 0},)}, "keys are strings, got None"),
            ([("a", 1)], r"config must be a dict, got \[\('a', 1\)\]"),
            (None, "config must be a dict, got None"),
        )
    ),
    Case(
        "records.open_folder",
        lambda: open_folder("never-made", {}, provenance={2.5: 0}),
        "provenance must be JSON, whose keys are strings, got 2.5",
    ),
    *(
        Case(name, functools.partial(call, path), message)
        for name, call in (
            ("records.open_folder", lambda path: open_folder(path, {})),
            ("records.open_records", records.open_records),
        )
        for path, message in (
            ("", "must be a path such as 'runs', or '.'.*got ''"),
            (3, "must be a path.*got 3"),
            (None, "must be a path.*got None"),
            (b"runs", "must be a path.*got b'runs'"),
            ("~no-such-user/x", "no home directory"),
        )
    ),
    Case(
        "records.open_records",
        lambda: records.open_records("never-made"),
        "There is no folder",
        FileNotFoundError,
    ),
    Case(
        "records.open_records",
        lambda: records.open_records(".", ids=[]),
        "ids must name at least one run",
    ),
]

# Public callables without a case, and why.
WITHOUT_A_CASE = {
    "AbstractInputs AbstractMethod AbstractStop": "abstract: subclasses are called",
    "Observable": "a type",
    "Results Solution Progress TangentKernel": "the library makes them",
    "theory.Assumptions theory.CollapseRange theory.CurvatureLimit theory.GroupBounds "
    "theory.LimitingCurvatureLaw theory.NeuronMoments": "plain results, which hold "
    "what they are given",
    "statistics.LackOfFit statistics.LawFit statistics.PowerLaw statistics.Proportion "
    "statistics.Threshold statistics.ThresholdSearch": "plain results",
    "records.DiskFullError records.FolderBusyError": "exceptions",
    "records.RecordFolder": "open_folder makes it",
    "records.checkout": "any path is allowed: without a checkout it returns None",
    "records.provenance": "takes no arguments",
}


@pytest.fixture(autouse=True)
def without_type_checks():
    """The type checks of the tests would speak before the library does."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{i}: {case.of}" for i, case in enumerate(CASES)]
)
def test_raises_an_error_that_helps_and_compiles_nothing(case, caplog):
    with jax.log_compiles(), pytest.raises(case.error, match=f"(?s){case.message}"):
        case.call()
    told = [record.getMessage() for record in caplog.records]
    compiled = {one.split()[1] for one in told if one.startswith("Compiling ")}
    # What puts an argument into place, or makes it floating point, computes nothing.
    compiled -= {"jit(stage)", "jit(convert_element_type)"}
    if case.small:
        compiled = {one for one in compiled if "simulate" in one or "share" in one}
    assert not compiled


def test_every_public_callable_is_in_the_table():
    public = set()
    for module, prefix in (
        (jaxflow, ""),
        (theory, "theory."),
        (theory.printed, "theory.printed."),
        (statistics, "statistics."),
        (records, "records."),
    ):
        for name, value in vars(module).items():
            # What `printed` imports from its neighbours is no name of its own.
            home = getattr(value, "__module__", "")
            own = module is not theory.printed or home == module.__name__
            if callable(value) and own and not name.startswith("_"):
                public.add(prefix + name)
    cases = {case.of.removesuffix(".of") for case in CASES}
    exceptions = {name for names in WITHOUT_A_CASE for name in names.split()}
    # The theory shows the width rule under its own name too.
    assert public - {"theory.width_rule"} == cases | exceptions
    assert not cases & exceptions
    assert len(CASES) >= 120


def test_a_case_is_of_the_callable_that_it_names():
    """Which is among the names of its call, or what the call was made of."""
    for case in CASES:
        if isinstance(case.call, functools.partial):
            continue
        names = _names(case.call.__code__)
        short = case.of.split(".")[-1]
        assert short in names or case.of == "theory.GroupFlow", case.of


def _names(code):
    inner = [_names(c) for c in code.co_consts if hasattr(c, "co_names")]
    return set(code.co_names).union(*inner)


def test_a_folder_in_the_home_directory_is_found(monkeypatch, tmp_path):
    from jaxflow._checks import as_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_folder("~/x") == tmp_path / "x"
    assert as_folder(tmp_path) == tmp_path
    open_folder("~/x", {}, provenance={})
    assert (tmp_path / "x" / "config.json").exists()


def test_integers_of_numpy_are_seeds():
    from jaxflow._ensemble.grid import check_seeds

    for seeds in ([np.int64(3)], np.array([3]), jnp.array([3]), range(3, 4)):
        assert check_seeds(seeds) == [3]
        assert type(check_seeds(seeds)[0]) is int


def test_double_precision_without_x64_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        sample_problem(dtype="float64")
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        simulate_ensemble(dtype=np.float64)
    with jax.enable_x64(False), pytest.raises(ValueError, match="float32 can hold"):
        jaxflow.GradientDescent(1e-60)


def test_a_law_is_cast_to_the_precision_that_was_asked_for():
    data, network = sample_problem(
        dtype="float32",
        inputs=lambda key, n, d, dtype: np.eye(n, d),
        targets=lambda key, inputs, dtype: np.arange(1, inputs.num_examples + 1),
        init=lambda key, data, d, p: jaxflow.Network(np.ones((p, d)), np.ones(p)),
    )
    assert data.inputs.dtype == data.targets.dtype == network.w.dtype == np.float32


@pytest.mark.parametrize("x64", [False, True])
def test_a_dimension_beyond_32_bits_can_be_sampled(x64):
    with jax.enable_x64(x64):
        _, network = sample_problem(d=2**40)
    # ‖w‖² is one to a part in √d.
    np.testing.assert_allclose(network.squared_norm, 1, rtol=1e-5)


def test_values_are_not_looked_at_while_tracing():
    @jax.jit
    def loss(x, w):
        return jaxflow.loss(jaxflow.Dataset(x, Y), jaxflow.Network(w, A))

    assert jnp.isnan(loss(jnp.full((3, 3), jnp.nan), jnp.asarray(W)))
