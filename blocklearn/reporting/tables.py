"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.evaluation.linear_probe import ProbeRow

NAMES = {"raw": "global average", "head": "pooling head"}


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column on the left, numbers on the right."""
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(header):
        table.add_column(name, justify="right" if position else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_blocks(network: BlockwiseModule) -> None:
    """What is about to be trained."""
    rows = []
    for block in network.walked:
        spec = block.specs[-1]
        own, head = (sum(p.numel() for p in part.parameters()) for part in (block.stages, block.objective))
        rows.append((block.name, block.stage_names, f"{spec.channels}", f"1/{spec.stride}", f"{own:,}", f"{head:,}"))
    title = f"{network.structure['backbone']} in {len(rows)} block{'s' if len(rows) > 1 else ''}"
    print_table(title, ("block", "stages", "channels", "size", "parameters", "of its objective"), rows)


def print_probe(rows: Sequence[ProbeRow], dataset: str) -> None:
    """The results of the linear probes."""
    lines = [(f"{row.index} {row.stage}", NAMES[row.feature], f"{row.top1:.2f}", f"{row.top5:.2f}") for row in rows]
    print_table(f"Linear probes on {dataset}, accuracy in %", ("stage", "feature", "top-1", "top-5"), lines)


def print_comparison(runs: Mapping[str, Sequence[ProbeRow]], dataset: str) -> None:
    """Top-1 by block and feature, one column a run."""
    top1 = {(run, row.index, row.feature): f"{row.top1:.1f}" for run, rows in runs.items() for row in rows}
    places = sorted(
        {(row.feature != "raw", row.index, row.stage, row.feature) for rows in runs.values() for row in rows}
    )
    lines = [
        (f"{index} {stage}", NAMES[feature], *(top1.get((run, index, feature), "-") for run in runs))
        for _, index, stage, feature in places
    ]
    print_table(f"Linear probes on {dataset}, top-1 accuracy in %", ("block", "feature", *runs), lines)
