"""The benchmarks run, judge their targets, and report what was not measured too."""

import dataclasses
import json
import time

import jax
import numpy as np
import pytest

import jaxflow
from benchmarks import (
    _contenders,
    _machine,
    _peers_descent,
    _peers_flow,
    _peers_threshold,
    _profile,
    _run,
    _timing,
    ensemble,
    report,
    roofline,
    scaling_n,
    throughput,
)
from benchmarks._engine import Case, Fleet, Load, total
from benchmarks._targets import TARGETS, number
from benchmarks._timing import Contender, Race, Spread

ORTHOGONAL, DENSE = Case("orthogonal", 40, 40, 6), Case("sphere", 40, 8, 6)
QUICK = {"repeats": 2, "seconds": 0.003}


def content(name, measured, warnings=()):
    found = _run.Findings()
    found.table("A table", ["what", "value"], [["speed", Spread(2.0, 1.0, 3.0, 5)]])
    for key, (value, remark) in measured.items():
        found.target(key, value, remark)
    return {
        "name": name,
        "size": "full",
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
    text = report.report(report.read(tmp_path))
    claims = {
        target.key: target.claim for target in TARGETS if target.module == "ensemble"
    }
    (line,) = lines_with(text, f"| ensemble | {claims['orthogonal_autograd']}")
    assert "| ≥ 500 × | cpu | 612 (590–640) × | yes | two threads |" in line
    for key, met in (
        ("dense_autograd", "**no**"),
        ("figure5_seconds", "yes"),
        ("figure2_seconds", "**no**"),
        ("compilations", "not measured"),
    ):
        assert met in lines_with(text, claims[key])[0]
    assert "The load before was 3." in text
    assert "| speed | 2 (1–3) |" in text


def test_report_without_files_says_of_every_target_that_it_is_not_measured(tmp_path):
    text = report.report(report.read(tmp_path))
    assert len(lines_with(text, "not measured")) == len(TARGETS)


def test_report_keeps_devices_apart_and_leaves_quick_runs_out(tmp_path):
    written(tmp_path, "cpu", content("ensemble", {"figure5_seconds": (48.0, "")}))
    quick = content("roofline", {"dense_roofline": (99.0, "")})
    written(tmp_path, "cpu/quick", quick)
    written(tmp_path, "a-gpu", content("ensemble", {"figure5_warm": (4.0, "")}))
    text = report.report(report.read(tmp_path))
    warm, dense = (
        next(target for target in TARGETS if target.key == key)
        for key in ("figure5_warm", "dense_roofline")
    )
    assert "| a-gpu | 4 s | yes |" in lines_with(text, warm.claim)[0]
    assert "not measured" in lines_with(text, dense.claim)[0]
    assert "99" not in text


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
    asked = []
    one = Contender(lambda steps: asked.append(steps) or time.sleep(1e-3), 1, 4)
    steps = _timing.fitting(one, 0.004)
    assert steps % 4 == 0
    assert all(count % 4 == 0 for count in asked)


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
    assert _peers_flow.at_equal_error([(1e-3, 100.0)], ours)[0] == 50.0
    assert _peers_flow.at_equal_error([(1e-3, 100.0), (1e-1, 30.0)], ours)[0] == 30.0
    assert _peers_flow.at_equal_error([(None, 40.0)], ours)[0] == 40.0
    assert _peers_flow.at_equal_error([], ours) is None


def test_a_run_is_written_with_what_it_was_made_on(tmp_path, capsys):
    parameters = {"quick": _timing.Spread(1.0, 1.0, 1.0, 1)}

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
    assert "| yes |" in capsys.readouterr().out


def test_a_busy_machine_is_told():
    assert _run.warnings_about(0.2) == []
    assert "not idle" in _run.warnings_about(1.7)[0]


def test_profiles_name_compiled_operations():
    double = jax.jit(lambda x: jax.numpy.sin(x) @ x)
    x = np.ones((200, 200))
    double(x).block_until_ready()
    found = _profile.profile(lambda: double(x).block_until_ready())
    assert found == [] or 0 < sum(share for _, share in found) <= 100.001


def test_ensemble_measures_rates_and_pieces():
    parameters = ensemble.Parameters(
        orthogonal=ORTHOGONAL, dense=DENSE, batch=2, peers=False, **QUICK
    )
    found = _run.Findings()
    ensemble._rates(found, parameters, 0)
    ensemble._dense_step(found, parameters, 0)
    assert len(found.tables[0].rows) == 4
    assert found.measured["dense_product_share"]["value"] > 0


def test_ensemble_judges_sweeps():
    told = {
        "networks": 500,
        "network_steps": 10,
        "seconds": 5.0,
        "compiling": 2.0,
        "compilations": 3,
        "useful_share": 0.9,
        "converged": 0.0,
    }
    found = _run.Findings()
    ensemble._sweeps(found, {"5": ([told], 6.0), "2": ([told, told], 11.0)})
    values = {key: entry["value"] for key, entry in found.measured.items()}
    assert values["figure5_seconds"] == 6.0
    # The second round is no part of the first one's time.
    assert values["figure2_seconds"] == 6.0
    assert values["figure2_warm"] == 3.0
    assert values["padding_percent"] == pytest.approx(10)


def test_throughput_roofline_and_scaling_run():
    geometries = (("orthogonal", 0, (40,)),)
    small = throughput.Parameters(geometries, (1,), ("float32",), horizon=2.0, **QUICK)
    (table,) = throughput.measure(small, 0).tables
    assert [row[2] for row in table.rows] == list(throughput.METHODS)
    machine = roofline.Parameters(
        DENSE, (ORTHOGONAL,), (1,), 1, 50, 2**12, 2**10, **QUICK
    )
    assert len(roofline.measure(machine, 0).tables) >= 2
    told = scaling_n.one({"n": 50, "seed": 0, **QUICK})
    assert told["program_bytes"] > 0
    assert told["peak_bytes"] > told["program_bytes"]


@pytest.mark.slow
def test_peers_run():
    pytest.importorskip("torch")
    found = _run.Findings()
    for part in (_peers_descent, _peers_flow, _peers_threshold):
        part.measure(found, part.tiny(), 0)
    expected = {target.key for target in TARGETS if target.module == "peers"}
    expected -= {"flow_torchdiffeq"}
    assert expected <= set(found.measured)
