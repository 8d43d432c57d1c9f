"""The benchmarks run, judge their targets, and report what was not measured too."""

import dataclasses
import json
import time
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import jaxflow
from benchmarks import (
    _contenders,
    _kernels,
    _machine,
    _peers_descent,
    _peers_flow,
    _peers_threshold,
    _profile,
    _run,
    _timing,
    ensemble,
    precision,
    report,
    roofline,
    scaling_n,
    throughput,
)
from benchmarks._engine import Case, Fleet, Load, total
from benchmarks._targets import TARGETS, number
from benchmarks._timing import Contender, Race, Spread

ORTHOGONAL, DENSE = Case("orthogonal", 40, 40, 6), Case("sphere", 40, 8, 6)
QUICK: Any = {"repeats": 2, "seconds": 0.003}
# Any dataclass does.
QUICK_PARAMETERS = Spread(1.0, 1.0, 1.0, 1)


def content(name, measured, warnings=()):
    found = _run.Findings()
    found.table("A table", ["what", "value"], [["speed", Spread(2.0, 1.0, 3.0, 5)]])
    for key, (value, remark) in measured.items():
        found.target(key, value, remark)
    return {
        "name": name,
        "size": "full",
        "platform": "cpu",
        "date": "2026-01-01",
        "commit": "0123456789abcdef",
        "seed": 0,
        "dtype": "float32",
        "machine": {"device_kind": "cpu", "devices": 1, "cpu": "A CPU", "cores": 2},
        "versions": {"jax": "0.10.1"},
        "load_before": 0.1,
        "warnings": list(warnings),
        "measured": found.measured,
        "tables": [dataclasses.asdict(table) for table in found.tables],
    }


def reported(folder, reasons=None, tuning=""):
    return report.report(report.read(folder), reasons or {}, tuning)


def written(folder, device, file):
    # As a file of JSON gives it back.
    path = folder / device / f"{file['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(file))


def lines_with(text, part):
    return [line for line in text.splitlines() if part in line]


def test_report_judges_targets_and_names_those_not_measured(tmp_path):
    measured = {
        "orthogonal_autograd": (Spread(612.0, 590.0, 640.0, 7), "two threads"),
        "dense_autograd": (2.4, ""),
        "figure5_seconds": (48.0, ""),
        "figure2_seconds": (901.0, ""),
    }
    written(tmp_path, "cpu", content("ensemble", measured, ["The load before was 3."]))
    reasons = {"dense_autograd": "The profile says why."}
    text = reported(tmp_path, reasons, "A record of tuning.")
    assert "A record of tuning." in text
    table, why = text.split("## Targets that are not met, and why")
    claims = {
        target.key: target.claim for target in TARGETS if target.module == "ensemble"
    }
    (line,) = lines_with(table, f"| ensemble | {claims['orthogonal_autograd']}")
    assert "| ≥ 500 × | cpu | 612 (590–640) × | yes | two threads |" in line
    for key, met in (
        ("dense_autograd", "**no**"),
        ("figure5_seconds", "yes"),
        ("figure2_seconds", "**no**"),
        ("compilations", "not measured"),
    ):
        assert met in lines_with(table, claims[key])[0]
    assert "2.4 ×, wanted ≥ 2.5 ×.\n\nThe profile says why." in why
    assert "901 s, wanted ≤ 900 s.\n\nNo reason given yet." in why
    assert claims["figure5_seconds"] not in why
    assert "The load before was 3." in text
    assert "| speed | 2 (1–3) |" in text


def test_report_without_files_says_of_every_target_that_it_is_not_measured(tmp_path):
    text = reported(tmp_path)
    assert len(lines_with(text, "not measured")) == len(TARGETS)
    assert "None of those that were measured." in text


def test_report_keeps_devices_apart_and_leaves_quick_runs_out(tmp_path):
    written(tmp_path, "cpu", content("ensemble", {"figure5_seconds": (48.0, "")}))
    quick = content("roofline", {"dense_roofline": (99.0, "")})
    written(tmp_path, "cpu/quick", quick)
    warm = content("ensemble", {"figure5_warm": (4.0, "")}) | {"platform": "gpu"}
    written(tmp_path, "a-gpu", warm)
    # No target speaks of a TPU.
    other = content("ensemble", {"figure5_warm": (3.0, "")}) | {"platform": "tpu"}
    written(tmp_path, "a-tpu", other)
    text = reported(tmp_path)
    warm, dense = (
        next(target for target in TARGETS if target.key == key)
        for key in ("figure5_warm", "dense_roofline")
    )
    (line,) = lines_with(text, warm.claim)
    assert "| a-gpu | 4 s | yes |" in line
    assert "not measured" in lines_with(text, dense.claim)[0]
    assert "99" not in text


def test_a_report_says_what_is_incomplete_and_what_was_changed(tmp_path):
    file = content("ensemble", {}) | {"complete": False, "commit": 40 * "a" + "+"}
    written(tmp_path, "cpu", file)
    written(tmp_path, "cpu", content("roofline", {}))
    text = reported(tmp_path)
    ensemble_part, roofline_part = text.split("### roofline")
    assert "_Incomplete" in ensemble_part and "_Incomplete" not in roofline_part
    assert f"commit {12 * 'a'}+;" in ensemble_part
    assert "commit 0123456789ab;" in roofline_part


def test_a_report_on_other_results_lies_beside_them(tmp_path):
    written(tmp_path, "cpu", content("ensemble", {}))
    report.main(report.Settings(tmp_path))
    assert "### ensemble" in (tmp_path / "README.md").read_text()


def test_reasons_have_the_keys_of_targets():
    keys = {target.key for target in TARGETS}
    reasons = report.reasons_in(report.REASONS.read_text())
    assert set(reasons) <= keys
    assert all(reasons.values())
    text = "Words.\n\n## one\n\nA reason.\n\n## two\n"
    assert report.reasons_in(text) == {"one": "A reason.", "two": ""}


def test_every_target_belongs_to_a_module_and_has_a_key_of_its_own():
    assert {target.module for target in TARGETS} <= set(report.MODULES)
    assert len({target.key for target in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1234.5, "1234"), (2.5e7, "2.50e+07"), (None, "–"), (0, "0")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_ratios_are_taken_within_turns():
    drifting = Race({"slow": [2.0, 4.0, 40.0], "fast": [1.0, 2.0, 20.0]})
    assert drifting.ratio("slow", "fast") == Spread(2.0, 2.0, 2.0, 3)
    assert drifting.best(["slow", "fast", "absent"]) == "fast"
    assert Spread(2.0, 1.0, 4.0, 3).inverse(8.0) == Spread(4.0, 2.0, 8.0, 3)


def test_a_race_counts_steps_and_networks():
    slow = Contender(lambda steps: time.sleep(2e-4 * steps), networks=1)
    pair = Contender(lambda steps: time.sleep(2e-4 * steps), networks=2)
    timed = _timing.race({"slow": slow, "pair": pair}, 3, 0.02)
    assert 2e-4 <= timed.spread("slow").low < 2e-3
    # Two networks in the same time: half of it each.
    assert 1.2 < timed.ratio("slow", "pair").median < 3.5


def test_steps_come_in_the_contender_s_granularity():
    asked: list[int] = []

    def advance(steps):
        asked.append(steps)
        time.sleep(1e-3)

    one = Contender(advance, 1, 4)
    steps = _timing.fitting(one, 0.004)
    assert steps % 4 == 0
    assert all(count % 4 == 0 for count in asked)


def test_what_a_call_costs_whatever_its_length_is_not_in_the_difference():
    one = Contender(lambda steps: time.sleep(0.02 + 1e-4 * steps), granularity=4)
    short, long = _timing.lengths(one, 0.01)
    assert short == 4 and long - short >= 50 and (long - short) % 4 == 0
    calls = {
        name: lambda steps=steps: one.advance(steps)
        for name, steps in (("short", short), ("long", long))
    }
    taken = _timing.differences(_timing.race_calls(calls, 5), "short", "long")
    per_step = np.median(taken) / (long - short)
    assert 0.8e-4 < per_step < 3e-4


@pytest.mark.slow
def test_an_engine_advances_every_network_as_simulate_does():
    load = Load(Fleet(jaxflow.GradientDescent(1.0), workers=2), DENSE, 2, seed=3)
    outputs = load.advance(7.0)
    assert load.networks == 4
    assert total(outputs, "steps") == 28
    alone = jaxflow.simulate(
        *DENSE.draw(3, 2), jaxflow.GradientDescent(1.0), times=[7.0], observe={}
    )
    found = outputs[1]["final_loss"][0]
    assert found == pytest.approx(float(alone.final_loss), rel=1e-6)


@pytest.mark.slow
def test_a_fleet_returns_runs_of_several_shapes_in_order():
    fleet = Fleet(jaxflow.GradientDescent(1.0))
    cases = [Case("orthogonal", n, 200, 6) for n in (30, 90, 31, 91, 30)]
    drawn = [case.draw(0, index) for index, case in enumerate(cases)]
    rows = fleet.run_each([fleet.prepared(*one, [5.0]) for one in drawn], 2)
    for (data, network), row in zip(drawn, rows, strict=True):
        alone = jaxflow.simulate(
            data, network, jaxflow.GradientDescent(1.0), times=[5.0], observe={}
        )
        assert row["final_loss"] == pytest.approx(float(alone.final_loss), rel=1e-6)


@pytest.mark.parametrize("case", [ORTHOGONAL, DENSE], ids=["orthogonal", "dense"])
def test_peers_give_our_answer(case):
    pytest.importorskip("torch")
    gaps = _contenders.check_answers(case, 0, 8, 2)
    assert {"NumPy", "autograd", "batched"} <= set(gaps)
    assert max(gaps.values()) < 1e-4


def test_equal_error_compares_the_cheapest_of_ours_that_errs_no_more():
    ours = [(1e-2, 1.0), (1e-4, 2.0), (1e-6, 5.0)]
    compared: Any = _peers_flow.at_equal_error
    assert compared([(1e-3, 100.0)], ours)[0] == 50.0
    assert compared([(1e-3, 100.0), (1e-1, 30.0)], ours)[0] == 30.0
    assert compared([(None, 40.0)], ours)[0] == 40.0
    assert compared([], ours) is None


def test_a_run_is_written_with_what_it_was_made_on(tmp_path, capsys):
    parameters = {"quick": QUICK_PARAMETERS}

    def measure(chosen, seed):
        found = _run.Findings()
        found.target("figure5_seconds", chosen.median + seed)
        return found

    settings = _run.Settings("quick", 7, tmp_path)
    _run.run("ensemble", parameters, measure, settings)
    path = tmp_path / _machine.device_folder() / "quick" / "ensemble.json"
    file = json.loads(path.read_text())
    assert file["measured"]["figure5_seconds"]["value"] == 8.0
    assert {"machine", "versions", "commit", "dtype", "seed"} <= set(file)
    assert file["complete"]
    assert "| yes |" in capsys.readouterr().out


def test_a_run_that_breaks_off_leaves_its_tables(tmp_path):
    def measure(chosen, seed):
        found = _run.Findings()
        for count in (1, 2):
            found.table("Growing", ["a"], [[k] for k in range(count)])
        raise KeyboardInterrupt

    settings = _run.Settings("quick", 0, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        _run.run("ensemble", {"quick": QUICK_PARAMETERS}, measure, settings)
    path = tmp_path / _machine.device_folder() / "quick" / "ensemble.json"
    file = json.loads(path.read_text())
    assert not file["complete"]
    assert [table["rows"] for table in file["tables"]] == [[[0], [1]]]
    # Outside of a run nothing is written.
    path.unlink()
    _run.Findings().table("Other", ["a"], [])
    assert not path.exists()


def test_short_calls_are_repeated_within_a_turn(monkeypatch):
    clock, ends = [0.0], []

    def advance(end):
        ends.append(end)
        # A call costs 0.01 s besides.
        clock[0] += 0.01 + 0.001 * end

    monkeypatch.setattr(_timing.time, "perf_counter", lambda: clock[0])
    extra = _timing.longer(advance, 5, 10, 3, seconds_each=0.1)
    np.testing.assert_allclose(extra, 0.005)
    # One call tells how long it takes, then three turns of five calls of each.
    assert (ends.count(10.0), ends.count(5.0)) == (16, 15)


def test_a_busy_machine_is_told():
    assert _run.warnings_about(0.2) == []
    assert "not idle" in _run.warnings_about(1.7)[0]


def test_profiles_name_compiled_operations():
    double = jax.jit(lambda x: jax.numpy.sin(x) @ x)
    x = np.ones((200, 200))
    double(x).block_until_ready()
    found = _profile.profile(lambda: double(x).block_until_ready())
    assert found == [] or 0 < sum(share for _, share in found) <= 100.001


def test_profiles_of_an_accelerator_tell_what_it_waits():
    def line(name, *events):
        found = [
            SimpleNamespace(name=what, start_ns=start, duration_ns=taken)
            for what, start, taken in events
        ]
        return SimpleNamespace(name=name, events=found)

    streams = [
        line("Stream #1(Compute)", ("fusion.3", 100, 30), ("fusion.4", 150, 10)),
        line("Stream #2(Memcpy)", ("MemcpyD2H", 120, 20), ("MemcpyD2H", 170, 5)),
        line("XLA Ops", ("fusion.3", 100, 30), ("fusion.4", 150, 10)),
    ]
    host = [line("python", ("call", 0, 500)), line("tf_XLATfrt", ("copy", 90, 2))]
    planes = [
        SimpleNamespace(name="/device:GPU:0", lines=streams),
        SimpleNamespace(name="/host:CPU", lines=host),
    ]
    spent = _profile._durations(SimpleNamespace(planes=planes))
    # Nothing runs from 140 to 150 and from 160 to 170.
    assert spent == {"fusion": 40, "MemcpyD2H": 25, _profile.IDLE: 20}
    # Without an accelerator what the host computes is told, and no idle time.
    alone = SimpleNamespace(planes=planes[1:])
    assert _profile._durations(alone) == {"copy": 2}


@pytest.mark.slow
def test_ensemble_measures_rates_and_pieces():
    parameters = ensemble.Parameters(
        orthogonal=ORTHOGONAL, dense=DENSE, batch=2, peers=False, **QUICK
    )
    found = _run.Findings()
    ensemble._rates(found, parameters, 0)
    ensemble._dense_step(found, parameters, 0)
    assert len(found.tables[0].rows) == 4
    assert len(found.tables[1].rows) >= 2
    assert found.measured["dense_product_share"]["value"] > 0


def test_ensemble_judges_sweeps():
    told = {
        "networks": 500,
        "network_steps": 10,
        "seconds": 5.0,
        "compiling": 2.0,
        "compilations": 3,
        "useful_share": 0.9,
        "converged": None,
    }
    found = _run.Findings()
    again = told | {"compilations": 0}
    ensemble._sweeps(found, {"5": ([told], 6.0), "2": ([told, again], 11.0)})
    values = {key: entry["value"] for key, entry in found.measured.items()}
    assert values["figure5_seconds"] == 6.0
    # The second round is no part of the first one's time.
    assert values["figure2_seconds"] == 6.0
    assert values["figure2_warm"] == 5.0
    assert found.measured["figure2_warm"]["remark"] == ""
    assert {row[-1] for row in found.tables[0].rows} == {None}
    late = _run.Findings()
    ensemble._sweeps(late, {"2": ([told, told], 11.0)})
    assert "3 programs" in late.measured["figure2_warm"]["remark"]
    assert values["padding_percent"] == pytest.approx(10)


@pytest.mark.slow
def test_throughput_roofline_and_scaling_run():
    geometries = (("orthogonal", 0, (40,)),)
    small = throughput.Parameters(geometries, (1,), ("float32",), horizon=2.0, **QUICK)
    (table,) = throughput.measure(small, 0).tables
    assert [row[2] for row in table.rows] == [throughput.DESCENT, throughput.FLOW]
    none = dataclasses.replace(small, geometries=(("sphere", 8, (40,)),), largest=1e3)
    (table,) = throughput.measure(none, 0).tables
    assert [row[2] for row in table.rows] == [throughput.DESCENT, throughput.SLIDING]
    assert all("left out" in row[4] for row in table.rows)
    machine = roofline.Parameters(
        DENSE, (ORTHOGONAL,), (1,), 1, 50, 2**12, 2**10, **QUICK
    )
    assert len(roofline.measure(machine, 0).tables) >= 2
    told = scaling_n.one({"n": 50, "seed": 0, **QUICK})
    assert told["program_bytes"] > 0
    assert told["peak_bytes"] > told["program_bytes"]


def test_products_alone_keep_their_iterates_bounded():
    square, flop = _kernels.square_product(30)
    assert flop == 2 * 30**3
    x = np.asarray(square.advance(2000))
    assert np.linalg.norm(x) == pytest.approx(30, rel=0.2)
    forms, _ = _kernels.own_products(40, 8, 6, 2)
    ends = [np.asarray(form.advance(500)) for form in forms.values()]
    assert all(0.1 < np.abs(end).max() < 100 for end in ends if end.ndim)


def test_exponents_are_slopes_with_an_error():
    x = np.array([1.0, 2.0, 4.0])
    slope, error = scaling_n._slope(x, 3 * x + 1)
    assert (slope, error) == (pytest.approx(3), pytest.approx(0, abs=1e-12))
    assert scaling_n._slope(x, np.array([1.0, 0.0, 5.0]))[1] > 0.1


@pytest.mark.slow
def test_precisions_are_compared(monkeypatch):
    monkeypatch.setattr(precision, "OTHERS", ("high", "TF32_TF32_F32"))
    small = precision.Parameters(8, (40,), 2, batch=1, **QUICK)
    outcomes, speed = precision.measure(small, 0).tables
    assert len(outcomes.rows) == 3 + precision.supported("TF32_TF32_F32")
    assert len(speed.rows) == len(outcomes.rows) - 1


@pytest.mark.long
def test_peers_run():
    pytest.importorskip("torch")
    found = _run.Findings()
    for part in (_peers_descent, _peers_flow, _peers_threshold):
        part.measure(found, part.tiny(), 0)
    expected = {target.key for target in TARGETS if target.module == "peers"}
    expected -= {"flow_torchdiffeq", "flow_torchdiffeq_small"}
    assert expected <= set(found.measured)
