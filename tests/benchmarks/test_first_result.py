"""From import to the first result: what the processes tell."""

import math

import pytest

from benchmarks import _process, first_result


@pytest.mark.slow
def test_each_case_is_timed_cold_and_warm():
    found = first_result.measure(first_result.PARAMETERS["quick"], 0)
    (table,) = found.tables
    cases = first_result.PARAMETERS["quick"].cases
    assert [tuple(row[:2]) for row in table.rows] == [
        (case.name, cache) for case in cases for cache in ("cold", "warm")
    ]
    for _, _, first, importing, again in table.rows:
        assert 0 < importing.median < first.median
        # Nothing is compiled a second time.
        assert 0 < again.median < first.median


def test_results_that_differ_end_it(monkeypatch):
    losses = iter([1.0, 1.0, 2.0])

    def call(module, options, extra=None):
        if extra is not None:
            (first_result.Path(extra["JAX_COMPILATION_CACHE_DIR"]) / "program").touch()
        return {"importing": 1, "first": 2, "again": 1, "loss": next(losses)}, 3.0

    monkeypatch.setattr(_process, "call", call)
    case = first_result.PARAMETERS["quick"].cases[0]
    with pytest.raises(RuntimeError, match="the results differ"):
        first_result.timed(case, 1, 0)


def test_a_cache_that_keeps_nothing_is_no_warm_start(monkeypatch):
    told = {"importing": 1, "first": 2, "again": 1, "loss": math.pi}
    monkeypatch.setattr(_process, "call", lambda *_: (told, 3.0))
    case = first_result.PARAMETERS["quick"].cases[0]
    with pytest.raises(RuntimeError, match="no program was kept"):
        first_result.timed(case, 1, 0)
