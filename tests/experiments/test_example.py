"""The README's example runs as printed and draws its figure."""

import pytest

from experiments.figures import example


@pytest.mark.slow
def test_the_example_runs(tmp_path, capsys):
    example.main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"example.png", "example.pdf"}
    assert "The run reached the last requested time." in capsys.readouterr().out
