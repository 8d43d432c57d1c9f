"""How many runs of a batch one call of the compiled program takes."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from numpy.testing import assert_array_equal

import jaxflow
from jaxflow._ensemble import pace as paces
from jaxflow._ensemble import program as programs
from jaxflow._ensemble.pace import Pace
from jaxflow._ensemble.program import Program, Work, prepare, stack
from jaxflow._simulate import check_observers


def test_short_runs_share_a_call_and_long_ones_have_their_own():
    pace, lengths = Pace(), np.array([1.0, 2, 2, 2, 500, 500, 1])
    assert pace.end(0, lengths) == 1
    # A hundredth of a second each: a call takes 20 of them.
    pace.learn(lengths[:1], 0.01)
    assert pace.end(1, lengths) == 4
    assert pace.end(4, lengths) == 5
    assert pace.end(5, lengths) == 6
    assert pace.end(6, lengths) == 7
    pace.learn(lengths[4:5], 5e-4)
    assert pace.end(0, lengths) == 7


@pytest.mark.parametrize("lasts", [0.0, np.inf])
def test_a_run_does_not_depend_on_the_runs_that_share_its_call(monkeypatch, lasts):
    method, calls = jaxflow.GradientDescent(0.5), []
    runs = []
    for seed, end in enumerate([5.0, 7.0, 3.0]):
        data, network = jaxflow.sample_problem(jax.random.key(seed), n=20, d=40, p=6)
        runs.append(prepare(data, network, method.lean(), [0.0, end]))
    work = Work.of_methods({"": method}, ())[""]
    mesh = Mesh(np.array(jax.devices()[:1]), ("run",))
    program = Program(check_observers({}), mesh, lockstep=False)
    original = programs.computed

    def computed(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(paces, "_LASTS", lasts)
    monkeypatch.setattr(programs, "computed", computed)
    alone = [program.prepare(stack([run], 3), work, members=1)() for run in runs]
    calls.clear()
    # A third one fills up the batch, and is not computed.
    rows = program.prepare(stack(runs[:2], 3), work, members=2)()
    assert len(calls) == (2 if lasts == 0 else 1)
    third = program.prepare(stack(runs[1:], 3), work, members=2)()
    for name in rows:
        assert rows[name].shape == (2, *alone[0][name].shape[1:])
        found = [*rows[name], third[name][1]]
        assert_array_equal(found, [one[name][0] for one in alone])
    assert program.compilations == 1
