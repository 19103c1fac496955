"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.evaluation.linear_probe import ProbeRow


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
    lines = [(f"{row.index} {row.stage}", row.feature, f"{row.top1:.2f}", f"{row.top5:.2f}") for row in rows]
    print_table(f"Linear probes on {dataset}, accuracy in %", ("stage", "feature", "top-1", "top-5"), lines)


def print_comparison(runs: Mapping[str, Sequence[ProbeRow]], dataset: str) -> None:
    """Top-1 by block, one column a run and feature."""
    stages = {row.index: row.stage for rows in runs.values() for row in rows}
    columns = [(run, feature) for feature in ("raw", "head") for run in runs]
    top1 = {(run, row.feature, row.index): f"{row.top1:.1f}" for run, rows in runs.items() for row in rows}
    lines = [
        (f"{index} {stage}", *(top1.get((run, feature, index), "-") for run, feature in columns))
        for index, stage in sorted(stages.items())
    ]
    header = ("block", *(run if feature == "raw" else f"{run}, head" for run, feature in columns))
    print_table(f"Linear probes on {dataset}, top-1 in %: global average, and output of the pooling head", header, lines)
