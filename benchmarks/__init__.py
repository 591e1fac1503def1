"""What the library costs and what it reaches, measured on this machine: `python -m benchmarks [name ...]`.

A benchmark is a module with `run() -> list[dict]`, one dict a row, all with the same keys. Where a limit must hold it
has `failures(rows) -> list[str]`, too: one sentence for each row over the limit, and the command ends with status 1.
"""

from __future__ import annotations


def table(rows: list[dict]) -> str:
    """Rows as a markdown table; floats with three digits."""

    def text(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([text(row[k]) for k in keys] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
