"""The examples of the gallery, at a small size: what is found, by its numbers."""

import dataclasses

import numpy as np
import pytest

from experiments.common.output import read_records
from experiments.gallery import digits, teacher_student
from experiments.known_results.common import produce


def produced(module, config, folder, capsys):
    """The records, after the way from the config to the figure and from the records."""
    name = module.__name__.rpartition(".")[2]
    rest = (name, module.simulate, module.findings, module.draw, "gallery")
    config = dataclasses.replace(config, output=folder)
    produce(config, *rest)
    summary = capsys.readouterr().out
    files = {"config.json", "records.nc", "summary.md", f"{name}.png", f"{name}.pdf"}
    assert {path.name for path in folder.iterdir()} == files
    assert "nan" not in summary and "inf" not in summary
    assert f"experiments.gallery.{name}" in (folder / "config.json").read_text()
    produce(dataclasses.replace(config, redraw=True), *rest)
    assert capsys.readouterr().out == summary
    return read_records(folder)


@pytest.mark.long
def test_a_student_finds_its_teacher_with_many_examples_only(tmp_path, capsys):
    config = teacher_student.Config(d=4, p=20, sizes=(8, 80), seeds=3, last=600.0)
    records = produced(teacher_student, config, tmp_path, capsys)
    few, many = (teacher_student.medians(records).isel(n=k, time=-1) for k in (0, 1))
    start = records.isel(time=0)
    assert np.all(records.loss[..., -1] < 0.01 * start.loss)
    assert float(many.unseen) < 0.01 < float(few.unseen)
    assert float(many.found) > float(few.found)
    assert np.all((records.found >= 0) & (records.found <= 1))


@pytest.mark.long
def test_digits_are_fitted_though_they_interact(tmp_path, capsys):
    pytest.importorskip("sklearn")
    config = digits.Config(n=20, p=40, last=2000.0)
    records = produced(digits, config, tmp_path, capsys)
    images, random = (records.sel(inputs=kind) for kind in digits.KINDS)
    assert float(images.excess) > float(random.excess)
    assert float(images.cosine.min()) > 0
    assert abs(float(random.cosine.mean())) < 0.05
    # So few images are certified as early as random inputs; their last loss is larger.
    assert max(digits.certified(images), digits.certified(random)) < config.last
    last = [float(run.loss.dropna("time")[-1]) for run in (images, random)]
    assert last[0] > last[1]
    assert float(images.wrong[-1]) < 0.2


def test_the_images_are_of_two_digits_and_of_order_one():
    pytest.importorskip("sklearn")
    x, y = digits.images(0)
    assert x.shape == (len(y), 64) and set(y) == {-1.0, 1.0}
    np.testing.assert_allclose(np.mean(np.sum(x**2, axis=1)), 1)
    again, _ = digits.images(0)
    np.testing.assert_array_equal(x, again)


def test_sizes_without_meaning_are_refused():
    with pytest.raises(ValueError, match="from 2 d = 40 on"):
        teacher_student.Config(sizes=(39,))
    with pytest.raises(ValueError, match="d must be at least 3"):
        teacher_student.Config(d=2)
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="leaves an image of 357"):
        digits.simulate(digits.Config(n=357))
