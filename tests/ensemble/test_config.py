"""A folder goes on with what does the same, and refuses the rest in words."""

import functools
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxflow
from jaxflow import records
from jaxflow._ensemble import config, fingerprint
from jaxflow._ensemble.config import YOURS, describe, holds_yours
from jaxflow._sampling.initialisation import Initialisation

ROOT = Path(__file__).parents[2]
KEY = jax.random.key(3)


def ensemble(folder, **changes):
    """How many runs were computed."""
    seen = [0]
    settings = {
        "n": 10,
        "d": 20,
        "p": 4,
        "seeds": 2,
        "method": jaxflow.GradientDescent(0.5),
        "times": [0.0, 2.0],
        "progress": lambda progress: seen.append(progress.done),
    }
    key = changes.pop("key", KEY)
    jaxflow.simulate_ensemble(key, folder=folder, **{**settings, **changes})
    return seen[-1]


_numbers = itertools.count()


def module(folder, text):
    """A user's file, imported anew."""
    path = folder / f"laws_{next(_numbers)}.py"
    imports = "import equinox as eqx\nimport jax, jax.numpy as jnp\nimport jaxflow\n"
    path.write_text(imports + text)
    spec = importlib.util.spec_from_file_location("laws", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def ones(key, inputs, dtype):
    return jnp.ones_like(inputs.norms)


def scaled(factor):
    def wrap(law):
        @functools.wraps(law)
        def call(*args):
            return factor * law(*args)

        return call

    return wrap


def of_time(function):
    return lambda s: function(s.time)


def cube(t):
    return t**3


CONSTANT = """
SCALE = {}
def helper(x):
    return x * SCALE
def targets(key, inputs, dtype):
    return helper(jnp.ones_like(inputs.norms))
def observable(s):
    return helper(s.loss)
"""
BASE = """
class Base(eqx.Module):
    def __call__(self, key, inputs, dtype):
        return {} * jnp.ones_like(inputs.norms)
class Law(Base):
    name: str = "a"
"""
METHOD = """
class Base(jaxflow.GradientDescent):
    def run(self, problem, weights, a, *rest):
        return super().run(problem, weights, a * {}, *rest)
class Method(Base):
    def lean(self):
        return self
"""
STOP = """
LEVEL = {}
class Stop(jaxflow.AbstractStop):
    result = jaxflow.Results.loss_below
    def margin(self, problem, loss, curvature):
        return jnp.log(loss / LEVEL)
"""
SCHEDULE = """
def schedule(count):
    return jnp.where(count < {}, 0.5, 0.1)
"""


def of_module(text, name, make=lambda thing: thing):
    """For two numbers in a module's text, what stands under a name in it."""
    return lambda folder, number: make(
        getattr(module(folder, text.format(number)), name)
    )


# What was taken for the same: the argument, and what makes it of a folder and a number.
MIXED = {
    "functools.wraps": ("targets", lambda _, k: scaled(k)(ones)),
    "a law and its gradient": (
        "observe",
        lambda _, k: {"q": of_time(cube if k == 1 else jax.grad(cube))},
    ),
    "a constant that a law reads": ("targets", of_module(CONSTANT, "targets")),
    "a constant that an observable reads": (
        "observe",
        of_module(CONSTANT, "observable", lambda f: {"q": f}),
    ),
    "the base class of a law": ("targets", of_module(BASE, "Law", lambda law: law())),
    "the base class of a method": (
        "method",
        of_module(METHOD, "Method", lambda method: method(0.5)),
    ),
    "a constant that a stop reads": ("stop", of_module(STOP, "Stop", lambda s: s())),
    "a constant of a schedule": (
        "method",
        of_module(
            SCHEDULE.replace("{}", "{}0"),
            "schedule",
            lambda f: jaxflow.GradientDescent(0.5, optax.sgd(f)),
        ),
    ),
}


@pytest.mark.parametrize("case", MIXED)
def test_what_does_something_else_is_refused(tmp_path, case):
    argument, make = MIXED[case]
    runs = tmp_path / "runs"
    ensemble(runs, **{argument: make(tmp_path, 1)})
    before = sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))
    with pytest.raises(ValueError, match=argument) as raised:
        ensemble(runs, seeds=3, **{argument: make(tmp_path, 3)})
    assert str(runs) in str(raised.value)
    assert "another folder=" in str(raised.value)
    after = sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))
    assert before == after
    # What was there goes on, imported anew.
    assert ensemble(runs, seeds=3, **{argument: make(tmp_path, 1)}) == 1


@pytest.mark.slow
def test_a_difference_that_shows_later_is_refused(tmp_path):
    # On the run's own problem at t = 0 all of these are the loss.
    observables = [
        lambda s: s.loss,
        lambda s: s.loss * (1 + 0 * s.time) + s.time * 1e-3,
        lambda s: jnp.where(s.time > 1, 2 * s.loss, s.loss),
        lambda s: jnp.where(s.time > 60, 2 * s.loss, s.loss),
        lambda s: s.loss + s.balance_drift,
        lambda s: s.loss + (s.loss - s.start.loss) ** 2,
    ]
    ensemble(tmp_path / "runs", observe={"q": observables[0]}, times=[1.0, 50.0])
    for other in observables[1:]:
        with pytest.raises(ValueError, match=r"observe\[q\] gives other values"):
            ensemble(tmp_path / "runs", observe={"q": other}, times=[1.0, 50.0])


def test_a_law_that_seldom_does_something_else_is_refused(tmp_path):
    # On half of the problems both draw the same.
    text = """
def targets(key, inputs, dtype):
    y = jnp.ones_like(inputs.norms)
    return jnp.where(jax.random.uniform(key) < {}, -y, y)
"""
    make = of_module(text, "targets")
    ensemble(tmp_path / "runs", seeds=4, targets=make(tmp_path, 0))
    with pytest.raises(ValueError, match="targets draws something else"):
        ensemble(tmp_path / "runs", seeds=4, targets=make(tmp_path, 0.5))


def test_another_generator_is_refused(tmp_path):
    before = getattr(jax.config, "jax_threefry_partitionable")  # noqa: B009
    ensemble(tmp_path / "runs", seeds=1)
    try:
        jax.config.update("jax_threefry_partitionable", not before)
        with pytest.raises(
            ValueError, match="jax_threefry_partitionable was True and is False"
        ):
            ensemble(tmp_path / "runs")
    finally:
        jax.config.update("jax_threefry_partitionable", before)


SAME = {
    "a comment": (
        "def targets(key, x, _):\n    return jnp.ones_like(x.norms)\n",
        "def targets(key, x, _):\n    # Alike.\n    return jnp.ones_like(x.norms)\n",
    ),
    "seeds on the line of a lambda": (
        "settings = dict(seeds=2, targets=lambda key, x, _: jnp.ones_like(x.norms))\n"
        "targets = settings['targets']\n",
        "settings = dict(seeds=3, targets=lambda key, x, _: jnp.ones_like(x.norms))\n"
        "targets = settings['targets']\n",
    ),
    "a set of strings": (
        "def made(names):\n"
        "    return lambda key, x, _: jnp.ones_like(x.norms) * len(names)\n"
        "targets = made({'a', 'b'})\n",
        "def made(names):\n"
        "    return lambda key, x, _: jnp.ones_like(x.norms) * len(names)\n"
        "targets = made({'b', 'c'})\n",
    ),
    "another name": (
        "def first(key, x, _):\n    return jnp.ones_like(x.norms)\ntargets = first\n",
        "def other(key, inputs, dtype):\n"
        "    return 0.5 * jnp.ones_like(inputs.norms) * 2\n"
        "targets = jax.jit(other, static_argnums=2)\n",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_the_same_goes_on(tmp_path, case):
    first, second = (module(tmp_path, text).targets for text in SAME[case])
    assert ensemble(tmp_path / "runs", targets=first) == 2
    assert ensemble(tmp_path / "runs", seeds=3, targets=second) == 1


@pytest.mark.slow
def test_settings_may_be_written_otherwise(tmp_path):
    methods = {"a": jaxflow.GradientDescent(0.5), "b": jaxflow.GradientDescent(1.0)}
    stop = jaxflow.LossBelow(0.1)
    observe = {"half": lambda s: s.loss / 2, "sum": lambda s: jnp.sum(s.a)}
    ensemble(tmp_path / "runs", method=methods, stop=stop, observe=observe)
    again = {
        "method": dict(reversed(methods.items())),
        "stop": (jaxflow.LossBelow(0.1),),
        "observe": {"sum": lambda s: s.a.sum(), "half": lambda s: 0.5 * s.loss},
        "init": Initialisation(),
        "targets": jaxflow.uniform_targets,
        "inputs": lambda key, n, d, dtype: jaxflow.sample_inputs(
            key, n=n, d=d, dtype=dtype
        ),
    }
    # Other times and sizes, of which the least is another one.
    assert ensemble(tmp_path / "runs", **again) == 0
    assert ensemble(tmp_path / "runs", **again, n=[8, 10], times=[1.0, 70.0]) == 8


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"method": jaxflow.GradientDescent(0.25)},
            "methods.learning_rate was 0.5 and is 0.25",
        ),
        ({"init": "uniform"}, "init.first_layer was gaussian and is uniform"),
        ({"init": jaxflow.CoveredInitialisation()}, "is jaxflow.CoveredInit.*1000"),
        ({"inputs": "sphere"}, "inputs was orthogonal and is sphere"),
        ({"stop": jaxflow.LossBelow(0.5)}, "stop was none and is .*LossBelow"),
        ({"stop": jaxflow.LossFallen(0.5)}, "stop was none and is .*LossFallen"),
        ({"observe": {"q": lambda s: s.loss}}, "observe.q was nothing and is yours"),
        ({"times": [1.0]}, "number of times was 2 and is 1"),
        ({"key": jax.random.key(4)}, r"key\[1\] was 3 and is 4"),
        ({"lockstep": True}, "lockstep was False and is True"),
        ({"dtype": np.float32}, "dtype was float64 and is float32"),
    ],
)
def test_what_differs_is_said_in_words(tmp_path, change, told):
    ensemble(tmp_path / "runs", seeds=1)
    with pytest.raises(ValueError, match=told):
        ensemble(tmp_path / "runs", **change)


def test_other_versions_are_refused_by_name(tmp_path, monkeypatch):
    ensemble(tmp_path / "runs", seeds=1)
    now = config.versions()
    assert now["jax"] == jax.__version__ and set(now) == {"jax", "jaxlib", "jaxflow"}
    other = {**now, "jaxlib": "0.0.1", "jaxflow": "9"}
    monkeypatch.setattr(config, "versions", lambda: other)
    told = f"jaxlib was {now['jaxlib']} and is 0.0.1; jaxflow was {now['jaxflow']} and"
    with pytest.raises(ValueError, match=told):
        ensemble(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"accept=\('jaxlib', 'jaxflow'\)"):
        ensemble(tmp_path / "runs", accept="jaxlib")
    assert ensemble(tmp_path / "runs", accept=("jaxlib", "jaxflow")) == 1
    # Other versions are no pass for other laws.
    with pytest.raises(ValueError, match="targets draws something else"):
        ensemble(tmp_path / "runs", accept=("jaxlib", "jaxflow"), targets=ones)


@pytest.mark.parametrize("accept", ["numpy", 5, ("jax", "laws"), [1]])
def test_accept_holds_names_of_packages(accept):
    with pytest.raises(ValueError, match=r"accept must hold names.*'jax', 'jaxlib'"):
        ensemble(None, accept=accept)


def test_folders_of_the_former_description_are_refused(tmp_path):
    former = {"key": [0, 3], "dtype": "float64", "observe": {}, "inputs": "orthogonal"}
    with records.open_folder(tmp_path / "runs", former):
        pass
    with pytest.raises(ValueError, match=r"by an earlier jaxflow.*another folder="):
        ensemble(tmp_path / "runs")


def test_a_law_that_fails_on_the_runs_of_a_folder_is_refused(tmp_path):
    def fails(key, inputs, dtype):
        raise ValueError("n is too small.")

    ensemble(tmp_path / "runs", seeds=1)
    with pytest.raises(ValueError, match=r"n = 10, d = 20, p = 4.*n is too small"):
        ensemble(tmp_path / "runs", targets=fails)


@pytest.mark.slow
def test_another_process_goes_on(tmp_path):
    """Hashes of strings, and where things lie in memory, are others there."""
    script = f"""
import jax, optax
jax.config.update("jax_enable_x64", True)
from tests.ensemble.test_config import *
names = {{"left", "right", "up", "down"}}
def of_names(names):
    return lambda key, inputs, dtype: jnp.ones_like(inputs.norms) * len(names)
path = Path({str(tmp_path)!r})
method = {{
    "plain": jaxflow.GradientFlow(1e-3),
    "yours": module(path, METHOD.format(2)).Method(0.5),
    "schedule": jaxflow.GradientDescent(
        0.5, optax.adam(lambda count: 0.1 / len(names) / (1 + count))
    ),
}}
print("computed", ensemble(
    path / "runs", seeds=1, method=method, stop=jaxflow.LossBelow(0.01),
    observe={{
        **{{k: v for k, v in jaxflow.OBSERVABLES.items() if k != "balance_drift"}},
        "q": lambda s: s.loss * len(names),
    }},
    targets=of_names(names),
))
"""
    for seed, computed in (("1", 3), ("2", 0)):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"computed {computed}" in done.stdout


@pytest.mark.slow
def test_observables_may_need_the_multipliers(tmp_path):
    observe = {"slides": lambda s: jnp.sum(s.multipliers)}
    settings = {"method": jaxflow.FilippovFlow(1e-2), "inputs": "sphere", "p": 2}
    ensemble(tmp_path / "runs", seeds=1, observe=observe, **settings)
    with pytest.raises(ValueError, match=r"observe\[slides\]"):
        observe = {"slides": lambda s: 2 * jnp.sum(s.multipliers)}
        ensemble(tmp_path / "runs", observe=observe, **settings)


@pytest.mark.parametrize(
    ("dtype", "rounding", "more"), [(np.float32, 1e-6, 1e-3), (float, 1e-12, 1e-7)]
)
def test_rounding_is_no_difference(dtype, rounding, more):
    rng = np.random.default_rng(0)
    # Scales from tiny to large, and a row that is rounding itself.
    rows = rng.normal(size=(4, 30)) * np.array([[1e-6], [1.0], [1e6], [0.0]])
    rounded = rows * (1 + rounding * rng.normal(size=rows.shape))
    rounded[3] = rounding * 1e-3
    other = rows * (1 + more * rng.uniform(0.5, 1, size=rows.shape))
    holed = np.where(rows > 2, np.nan, rows)
    texts = [
        fingerprint._of_rows({"a": array.astype(dtype), "b": np.arange(3)})
        for array in (rows, rounded, other, holed, rows[:, :29])
    ]
    assert texts[0] != texts[1]
    assert [fingerprint._alike(texts[0], text) for text in texts] == (
        [True, True, False, False, False]
    )


def test_what_is_described():
    @eqx.filter_jit
    def jitted(x):
        return x

    class Holder(eqx.Module):
        level: float
        name: str
        function: object

    held = describe(Holder(2.0, "a", jitted))
    assert held == {"name": YOURS, "fields": {"level": 2.0, "name": "a"}}
    assert describe({"a", "b"}) == ["a", "b"]
    adam = describe(jaxflow.GradientDescent(1.0, optax.adam(0.1)))
    assert adam != describe(jaxflow.GradientDescent(1.0, optax.adam(0.2)))
    assert not holds_yours(adam)
    schedule = jaxflow.GradientDescent(1.0, optax.adam(lambda count: 0.1))
    assert holds_yours(describe(schedule))
    # A wrapper says that it is what it wraps.
    assert holds_yours(describe(functools.wraps(optax.sgd)(lambda: None)))
    assert describe(jaxflow.Initialisation()) == {
        "name": "jaxflow.Initialisation",
        "fields": {
            "first_layer": "gaussian",
            "second_layer": "exponential",
            "scale": 1.0,
            "first_layer_scale": 1.0,
        },
    }
    loop: list = []
    loop.append(loop)
    assert holds_yours(describe(loop))
