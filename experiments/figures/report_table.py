"""A figure's numbers beside those of the paper and of its authors' later runs."""

from typing import Any

from ..common.output import markdown_table
from .report_parts import Part, command


def summary_table(figure: int, parts: list[Part]) -> str:
    """One line for each quantity, whatever the protocols under which it is there."""
    lines = []
    if not parts:
        gap = f"missing: `{command(figure, 'released')}`"
        lines.append((f"Figure {figure}", "–", "–", gap, "–", "–"))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part in parts:
        for row in part.rows:
            found.setdefault(row["quantity"], {})[part.name] = row
    for quantity, rows in found.items():
        flow = {k: row for k, row in rows.items() if k.split("-")[0] == "flow"}
        same = {k: row for k, row in rows.items() if k not in flow}
        verdicts = [
            f"{name}: {'yes' if row['agrees'] else 'no'}{_judge(name, row)}"
            for name, row in rows.items()
            if row["agrees"] is not None
        ]
        lines.append(
            (
                quantity,
                _stated(rows, "paper"),
                _stated(rows, "released"),
                _ours(same, "released"),
                _ours(flow, "flow"),
                "<br>".join(verdicts) or "–",
            )
        )
    header = (
        "quantity",
        "paper's text",
        "authors' released",
        "ours, same protocol",
        "ours, flow",
        "agrees?",
    )
    return markdown_table(header, lines)


def agreement(parts: list[Part]) -> str:
    """How many of the numbers that can be compared agree, by protocol."""
    counts = []
    for part in parts:
        judged = [row["agrees"] for row in part.rows if row["agrees"] is not None]
        if judged:
            counts.append(f"{part.name}: {sum(judged)} of {len(judged)}")
    return "<br>".join(counts) or "–"


def disagreements(parts: list[Part]) -> str:
    """What does not agree, and by how much, in words."""
    lines = []
    for part in parts:
        for row in part.rows:
            if row["agrees"] is not False:
                continue
            note = f" ({row['note']})" if row["note"] else ""
            lines.append(
                f"- `{part.name}`, {row['quantity']}: {_estimate(row)} against "
                f"{_number(row['target'])} ({row['source']}){note}.\n"
            )
    if not lines:
        return ""
    return "**What disagrees:**\n\n" + "".join(lines)


def _judge(name: str, row: dict[str, Any]) -> str:
    """Named where it is not the protocol's own."""
    text = row["source"].startswith("the text")
    return " (the text)" if text and name.startswith("released") else ""


def _stated(rows: dict[str, dict[str, Any]], source: str) -> str:
    values = [row[source] for row in rows.values() if row[source] is not None]
    return _number(values[0]) if values else "–"


def _ours(rows: dict[str, dict[str, Any]], usual: str) -> str:
    """Each protocol's number and interval; named where it is not the usual one."""
    cells = []
    for name, row in sorted(rows.items(), key=lambda item: item[0] != usual):
        label = "" if name == usual else f"{name}: "
        cells.append(f"{label}{_estimate(row)}")
    return "<br>".join(cells) or "–"


def _estimate(row: dict[str, Any]) -> str:
    """The number with its interval, or the bound that is all that is known."""
    if row["ours"] is None and row["low"] is not None:
        return f"> {_number(row['low'])}"
    return f"{_number(row['ours'])}{_interval(row)}"


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None or row["high"] is None:
        return ""
    return f" [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: Any) -> str:
    """Four digits; words as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return text.replace("-", "−")
