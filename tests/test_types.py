"""A user's type checker sees the types of jaxflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxflow
from tests import user_script

# What is written, how it is misspelt, and what mypy must name.
MISSPELT = [
    ("sol.loss", "sol.los", '"los"'),
    ("sol.final.w", "sol.final.weights", '"weights"'),
    ("s.residuals", "s.residual", '"residual"'),
    ("jaxflow.GradientFlow", "jaxflow.GradientFlo", '"GradientFlo"'),
    ("jaxflow.Solution", "jaxflow.Solutions", "jaxflow.Solutions"),
    ("rtol=", "rtoll=", '"rtoll"'),
    ("stop=", "stops=", '"stops"'),
    ("seeds=", "seed=", '"seed"'),
    ("theory.time_scale", "theory.timescale", '"timescale"'),
    ("fit_threshold", "fit_treshold", '"fit_treshold"'),
]


@pytest.mark.slow
def test_mypy_passes_the_script_and_names_what_is_misspelt(tmp_path):
    """`mypy --strict` of the script and of its misspelt copies in one call, where there
    is no configuration and jaxflow is found as an installed package."""
    script = Path(user_script.__file__).read_text()
    (tmp_path / "correct.py").write_text(script)
    for number, (right, wrong, _) in enumerate(MISSPELT):
        assert right in script
        (tmp_path / f"copy{number}.py").write_text(script.replace(right, wrong))
    files = sorted(path.name for path in tmp_path.iterdir())
    options = ["--strict", "--no-pretty", "--config-file=", "--cache-dir=cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(jaxflow.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    errors = [line for line in said.splitlines() if " error: " in line]
    assert not [line for line in errors if not line.startswith("copy")], said
    for number, (_, wrong, named) in enumerate(MISSPELT):
        own = [line for line in errors if line.startswith(f"copy{number}.py:")]
        assert any(named in line for line in own), (wrong, own)


@pytest.mark.slow
def test_the_script_runs(capsys):
    user_script.main()
    assert capsys.readouterr().out.startswith("The run stopped because its loss fell")
