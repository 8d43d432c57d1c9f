"""results/benchmarks/README.md, from the files beside it, and from reasons.md and
tuning.md of this package, which are written by hand.

python -m benchmarks.report
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from experiments.common.output import markdown_table, write_text

from ._run import RESULTS, Table, judged
from ._targets import TARGETS, Target

MODULES = (
    "ensemble",
    "peers",
    "roofline",
    "throughput",
    "scaling_n",
    "scaling_devices",
    "precision",
    "accuracy",
    "accuracy_at_size",
    "flow",
    "first_result",
    "figures",
)

HEAD = """\
# Benchmarks

Written by `python -m benchmarks.report` from the files in `results/benchmarks`, from
`benchmarks/reasons.md` and `benchmarks/tuning.md`; do not edit. `python -m benchmarks`
measures everything anew (`--size quick` in a few minutes, kept apart in `quick/`
folders), `benchmarks/gpu.sh` does so on a bare GPU machine. `python -m benchmarks.NAME`
measures one. Measure on an idle machine: a busy core has falsified one ratio by a
factor of three.

Numbers are medians of repeats with (least–greatest); what is compared takes turns.

Two more benchmarks have tables of their own, and `python -m benchmarks` runs them by
name only. Both go on where they were cut off, here on 2 cores:

- `python -m benchmarks --only work_precision`, error against work, about 40 minutes:
  `results/benchmarks/cpu/work_precision.md`.
- `python -m benchmarks --only convergence_probability`, descent against the flow by
  outcome, several hours: `results/benchmarks/cpu/convergence_probability.md`.
"""

REASONS, TUNING = (Path(__file__).parent / name for name in ("reasons.md", "tuning.md"))

Files = dict[str, dict[str, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The report."""

    results: Path = RESULTS
    output: Path | None = None
    """The folder of README.md; that of the results if left out."""


def main(settings: Settings) -> None:
    output = settings.results if settings.output is None else settings.output
    text = report(
        read(settings.results),
        reasons_in(REASONS.read_text(encoding="utf-8")),
        TUNING.read_text(encoding="utf-8"),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_text(output, "README.md", text)


def reasons_in(text: str) -> dict[str, str]:
    """Target key → what stands under its heading."""
    _, *parts = re.split(r"^## (\S+) *$", text, flags=re.MULTILINE)
    return {
        key: reason.strip() for key, reason in zip(parts[::2], parts[1::2], strict=True)
    }


def read(results: Path) -> Files:
    """Device → module → the content of its file. Quick runs are not read."""
    found: Files = {}
    for path in sorted(results.glob("*/*.json")):
        if path.stem in MODULES:
            content = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(path.parent.name, {})[path.stem] = content
    return found


def report(files: Files, reasons: Mapping[str, str], tuning: str) -> str:
    parts = [HEAD, "## Targets\n", _targets(files)]
    parts += ["## Targets that are not met, and why\n", _unmet(files, reasons)]
    parts += ["## What the measurements changed\n", tuning.strip() + "\n"]
    for device, modules in files.items():
        parts.append(f"## On {device}\n")
        for name in MODULES:
            if name in modules:
                parts.append(_module(name, modules[name]))
    return "\n".join(parts)


def _targets(files: Files) -> str:
    rows = []
    for target in TARGETS:
        cells = [target.module, target.claim, target.wanted()]
        answers = _answers(target, _of_kind(target, files))
        rows += [[*cells, *answer] for answer in answers]
    header = ["by", "target", "wanted", "device", "measured", "met", "remark"]
    return markdown_table(header, rows)


def _of_kind(target: Target, files: Files) -> Files:
    """The devices that a target speaks of."""
    return {
        device: modules
        for device, modules in files.items()
        if any(file["platform"] == target.devices for file in modules.values())
    }


def _unmet(files: Files, reasons: Mapping[str, str]) -> str:
    parts = []
    for target in TARGETS:
        for device, modules in _of_kind(target, files).items():
            measured = modules.get(target.module, {}).get("measured", {})
            entry = measured.get(target.key)
            if entry is None or target.met(entry["value"]):
                continue
            value = judged(target, measured)[0]
            why = reasons.get(target.key) or "No reason given yet."
            heading = f"**{target.claim}**, on {device}: {value}, wanted "
            parts.append(f"{heading}{target.wanted()}.\n\n{why}\n")
    return "\n".join(parts) or "None of those that were measured.\n"


def _answers(target: Target, of_kind: Files) -> list[list[str]]:
    """One answer for each device of the kind that the target speaks of."""
    if not of_kind:
        device = "cpu" if target.devices == "cpu" else "GPU"
        return [[device, *judged(target, {})]]
    return [
        [device, *judged(target, modules.get(target.module, {}).get("measured", {}))]
        for device, modules in of_kind.items()
    ]


def _module(name: str, content: Mapping[str, Any]) -> str:
    parts = [f"### {name}\n", _made_on(content)]
    # Files from before this was noted were written at the end only.
    if not content.get("complete", True):
        parts.append("_Incomplete: the module was ended before it had all._\n")
    parts += [f"_{warning}_\n" for warning in content["warnings"]]
    parts += [Table(**table).text() for table in content["tables"]]
    return "\n".join(parts)


def _made_on(content: Mapping[str, Any]) -> str:
    machine, versions = content["machine"], content["versions"]
    device = machine["device_kind"]
    cpu = f"{machine['cpu']}, {machine['cores']} cores"
    what = cpu if device == "cpu" else f"{device} × {machine['devices']} ({cpu})"
    packages = ", ".join(
        f"{name} {versions[name]}"
        for name in ("jax", "torch", "torchdiffeq")
        if name in versions
    )
    return (
        f"{what}; {packages}; {content['dtype']}; seed {content['seed']}; commit "
        f"{_short(content['commit'])}; {content['date']}; load before "
        f"{content['load_before']}.\n"
    )


def _short(commit: str) -> str:
    """Twelve digits, and the + of a checkout that differed from its commit."""
    return commit[:12] + ("+" if commit.endswith("+") and len(commit) > 12 else "")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
