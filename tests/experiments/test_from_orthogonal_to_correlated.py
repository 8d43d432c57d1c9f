"""From orthogonal to correlated, at a small size."""

import numpy as np
import pytest

from experiments.open_questions import decided
from experiments.open_questions import from_orthogonal_to_correlated as command
from experiments.open_questions import from_orthogonal_to_correlated_runs as runs
from experiments.open_questions import from_orthogonal_to_correlated_table as table

from .again import nothing_is_made_again
from .decided_runs import decided_runs, records


def test_the_edge_against_random_matrices():
    """Symmetric ones of independent entries ρ_i ρ_k g_ik/√n, the limit d → ∞. Their
    norm is within n^(−2/3) of it."""
    rng, n, found = np.random.default_rng(0), 1000, []
    for _ in range(3):
        noise = rng.normal(size=(n, n))
        noise = np.triu(noise, 1) + np.triu(noise, 1).T
        lengths = rng.uniform(1, 2, size=n)
        values = np.linalg.eigvalsh(noise * np.outer(lengths, lengths) / np.sqrt(n))
        found.append(np.abs(values).max())
    assert np.mean(found) == pytest.approx(runs.edge(), rel=2 * n ** (-2 / 3))
    # The mean variance alone would give 2 E[ρ²].
    assert np.mean(found) > 1.05 * 2 * 7 / 3


def test_known_thresholds_are_those_of_the_assumptions():
    known, e = runs.known_thresholds(50), runs.edge()
    # Eq. 4 with C_x⁻ = 1, C_y⁻/C_y⁺ = 1/2, and (C_x⁻)² = N.
    assert e * np.sqrt(50 / known["assumption"]) == pytest.approx(0.5 / np.sqrt(50))
    assert e * np.sqrt(50 / known["bound"]) == pytest.approx(1)


def test_margins_against_the_literal_definitions(tmp_path):
    made = runs.margins(tmp_path / "margins", [(9, 4), (9, 200)], 3, seed=1)
    assert made.assumption.shape == (6,)
    # Eq. 4 has the factor C_y⁻/(√n C_y⁺) beside eq. 21.
    ratio = made.assumption / made.bound * np.sqrt(9)
    assert np.all((ratio > 0.5) & (ratio < 1))
    assert made.bound[made.d == 200].min() > made.bound[made.d == 4].max()
    again = runs.margins(tmp_path / "margins", [(9, 200)], 3, seed=1)
    np.testing.assert_array_equal(again.bound, made.bound[made.d == 200])
    with pytest.raises(ValueError, match="seed"):
        runs.margins(tmp_path / "margins", [(9, 200)], 3, seed=2)


def test_stops_and_their_laws():
    """Thresholds put in at 3 n², 2 n and n/4 come out again."""
    data, made = [], []
    for n in (16, 64, 256):
        for d in 3 * n**2 * np.array([0.5, 0.9, 1.1, 2]):
            data += [(n, d, d / (3 * n**2), d / (2 * n))] * 5
        for d in 2 * n * np.array([0.5, 0.9, 1.1, 2]):
            data += [(n, d, d / (3 * n**2), d / (2 * n))] * 5
        for d in n / 4 * np.array([0.5, 0.75, 1.25, 2]):
            zero, lost = d > n / 4, d <= n / 8
            made += [("sphere", n, int(d), 9, int(zero), int(lost), 1.0)] * 5
    data = records(("n", "d", "assumption", "bound"), data)
    made = decided_runs(made)
    found = table.stops(made, data)
    for name, expected in (("assumption", 3 * 64**2), ("bound", 128), ("zero", 16)):
        (own,) = [stop for stop in found if (stop.name, stop.n) == (name, 64)]
        assert own.low <= own.d <= own.high
        assert own.d == pytest.approx(expected, rel=0.15)
    # The runs at 3/4 of it are undecided.
    (generous,) = [
        s for s in table.stops(made, data, True) if (s.name, s.n) == ("zero", 64)
    ]
    assert generous.d < 12.5
    lines = table._laws(found).splitlines()[2:]
    exponents = [float(line.split("|")[4].split("±")[0]) for line in lines]
    np.testing.assert_allclose(exponents, [2, 1, 1], atol=0.05)


def test_the_law_of_the_rate_is_found():
    n, rng, made = 64, np.random.default_rng(0), []
    for d in (8, 16, 32, 64, 1024):
        for limit in 0.1 * min(d / n, 1) ** 0.75 * np.exp(0.03 * rng.normal(size=50)):
            made.append(("sphere", n, d, 9, 1, 0, limit))
    lines = table._rates(decided_runs(made)).splitlines()[2:]
    rows = {line.split("|")[2].strip(): line.split("|") for line in lines}
    # What lies beyond d = n is not part of it.
    assert rows["power"][3].strip() == "8 … 64"
    assert float(rows["power"][7].split(",")[1].split("±")[0]) == pytest.approx(
        0.75, abs=0.03
    )
    assert float(rows["power"][6]) < 10 < float(rows["logarithmic"][6])


def test_config_spans_what_is_asked():
    cells = command.Config(size="full", sizes=(64, 128)).cells()
    names = [cell.name for cell, _ in cells]
    assert len(set(names)) == len(names)
    for n in {cell.n for cell, _ in cells}:
        sizes = [c.d for c, _ in cells if c.n == n and c.inputs == "sphere"]
        # Beyond Assumption 2, and below where the flow can fit n examples.
        assert max(sizes) > runs.known_thresholds(n)["assumption"]
        assert min(sizes) * max(c.p for c, _ in cells if c.n == n) < 2 * n
        orthogonal = [c.d for c, _ in cells if c.n == n and c.inputs == "orthogonal"]
        assert orthogonal == [d for d in sizes if d >= n]
    with pytest.raises(ValueError, match="sizes must be 8"):
        command.Config(sizes=(4,))


@pytest.mark.slow
def test_from_config_to_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_QUICK_RATIOS", (1,))
    monkeypatch.setattr(command, "_STEPS", (0.25, 2))
    config = command.Config(output=tmp_path)
    command.main(config)
    text = capsys.readouterr().out
    assert "nan" not in text
    name = "from_orthogonal_to_correlated"
    files = {path.name for path in config.folder.iterdir() if path.is_file()}
    assert files == {
        *("decided.nc", "margins.nc", "config.json", "table.md"),
        *(f"{name}.png", f"{name}.pdf"),
    }

    made = (decided, "decided")
    nothing_is_made_again(command, config, text, capsys, monkeypatch, made)
