"""benchmarks/README.md, from the files in benchmarks/results alone.

python -m benchmarks.report
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from experiments._output import markdown_table, write_text

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
    "figures",
)

HEAD = """\
# Benchmarks

Written by `python -m benchmarks.report` from the files in `benchmarks/results`; do not
edit. `python -m benchmarks` measures everything anew (`--size quick` in a few minutes,
kept apart in `quick/` folders), `benchmarks/gpu.sh` does so on a bare GPU machine.
`python -m benchmarks.NAME` measures one. Measure on an idle machine: a busy core has
falsified one ratio by a factor of three.

Numbers are medians of repeats with (least–greatest); contenders take turns. Two more
benchmarks have tables of their own: `benchmarks/results/cpu/work_precision.md` (error
against work) and `benchmarks/results/cpu/convergence_probability.md` (descent against
the flow, by outcome).
"""

Files = dict[str, dict[str, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The report."""

    results: Path = RESULTS
    output: Path = RESULTS.parent


def main(settings: Settings) -> None:
    write_text(settings.output, "README.md", report(read(settings.results)))


def read(results: Path) -> Files:
    """Device → module → the content of its file. Quick runs are not read."""
    found: Files = {}
    for path in sorted(results.glob("*/*.json")):
        if path.stem in MODULES:
            content = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(path.parent.name, {})[path.stem] = content
    return found


def report(files: Files) -> str:
    parts = [HEAD, "## Targets\n", _targets(files)]
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
        of_kind = {
            device: modules
            for device, modules in files.items()
            if (device == "cpu") == (target.devices == "cpu")
        }
        answers = _answers(target, of_kind)
        rows += [[*cells, *answer] for answer in answers]
    header = ["by", "target", "wanted", "device", "measured", "met", "remark"]
    return markdown_table(header, rows)


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
        f"{content['commit'][:12]}; {content['date']}; load before "
        f"{content['load_before']}.\n"
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
