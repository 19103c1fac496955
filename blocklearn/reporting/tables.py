"""Tables for the terminal."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.evaluation.evaluation import Row
from blocklearn.evaluation.isolation import Reach
from blocklearn.reporting.results import Results
from blocklearn.reporting.wide_table import print_wide

STEP = re.compile(r"(.*_)?step\d+")  # a metric of one step ahead of a prediction
NAMES = {
    "raw": "global average",
    "head": "pooling head",
    "context": "context",
    "projector": "projector",
    "concatenated": "all stages",
    "finetuned": "fine-tuned",
}


VALUES = {
    "top1": "top-1",
    "top5": "top-5",
    "rankme": "RankMe",
    "lidar": "LiDAR",
    "effective_rank": "effective rank",
    "feature_std": "std",
    "plain_std": "plain std",
    "cka": "CKA",
    "cka_last": "CKA with the last",
    "cka_before": "CKA before",
    "rbf_cka_before": "RBF CKA before",
    "participation_ratio": "participation ratio",
    "map": "mAP",
    "masked_mse": "masked MSE",
    "mean_mse": "MSE of the mean",
    "spatial_frequency": "spatial freq.",
    "temporal_frequency": "temporal freq.",
    "knn": "k-NN %",
    "knn_gain": "k-NN gain",
}
MOST_COLUMNS = 6  # of values; more do not fit beside each other on a terminal


def value_name(name: str) -> str:
    """What a value is called for people: `k20` is k = 20, `hit5` top-5 hit, `flowers/top1` flowers
    top-1."""
    data, _, own = name.rpartition("/")  # of one of several data sets
    told = re.sub(r"^k(\d+)$", r"k = \1", re.sub(r"^hit(\d+)$", r"top-\1 hit", own))
    told = VALUES.get(own, told)
    return f"{data} {told}".lstrip()


def shown(value: float, unit: str) -> str:
    """A value for people: accuracies with two decimals, other units with four digits."""
    return f"{value:.2f}" if "%" in unit else f"{value:.4g}"


def shown_spread(mean: float, sd: float | None, unit: str, of_percent: int = 1) -> tuple[str, str]:
    """A mean and its standard deviation for people, with as many decimals as each other: the two
    first digits of the deviation, and of the larger of the two no more than four.

    Args:
        mean: of several values.
        sd: their standard deviation; for None, as of a single value, the second text is empty.
        unit: of both.
        of_percent: how many decimals accuracies have.
    """
    if "%" in unit:
        return f"{mean:z.{of_percent}f}", "" if sd is None else f"{sd:.{of_percent}f}"
    if sd is None:
        return f"{mean:.4g}", ""
    size = max(abs(mean), sd)
    if not 1e-3 <= size < 1e6:
        return f"{mean:.4g}", f"{sd:.2g}"
    most = 3 - math.floor(math.log10(size))
    if sd < 0.5 * 10**-most:
        return f"{mean:.4g}", "0"
    decimals = max(0, min(most, 1 - math.floor(math.log10(sd))))
    return f"{mean:z.{decimals}f}", f"{sd:.{decimals}f}"


def with_spread(mean: float, sd: float | None, unit: str, of_percent: int = 1) -> str:
    """`shown_spread` as one text: `97.2 ± 0.6`, or the mean alone."""
    return " ± ".join(part for part in shown_spread(mean, sd, unit, of_percent) if part)


def feature_name(feature: str) -> str:
    """What a feature is called for people; one of a user's own objective keeps its name."""
    return NAMES.get(feature, feature)


def feature_order(rows: Iterable[Row]) -> list[str]:
    """The kinds of feature that there are, in the order in which they are shown."""
    there = dict.fromkeys(row.feature for row in rows)
    return [name for name in NAMES if name in there] + [name for name in there if name not in NAMES]


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1
) -> None:
    """Names on the left, numbers on the right; no number is cut.

    Args:
        title: above the table.
        header: names of the columns.
        rows: a text a column.
        names: how many columns in front say what a line is.
    """
    print_wide(header, rows, title, names=names)


def print_blocks(network: BlockwiseModule) -> None:
    """What is about to be trained."""
    rows = []
    for block in network.walked:
        spec = block.spec
        own, head = (
            sum(p.numel() for p in part.parameters()) for part in (block.stages, block.objective)
        )
        rows.append(
            (
                block.name,
                block.stage_names,
                f"{spec.channels}",
                f"1/{spec.stride}",
                f"{own:,}",
                f"{head:,}",
            )
        )
    kwargs = ", ".join(
        f"{name}={value}" for name, value in network.structure.backbone_kwargs.items()
    )
    backbone = network.structure.backbone + (f" ({kwargs})" if kwargs else "")
    title = f"{backbone} in {len(rows)} block{'s' if len(rows) > 1 else ''}"
    print_table(
        title,
        ("block", "stages", "channels", "size", "parameters", "of its objective"),
        rows,
        names=2,
    )


def print_reach(rows: Sequence[Reach]) -> bool:
    """Which loss reaches which block's parameters; returns whether every loss stays where it
    belongs."""
    lines = [
        (f"loss of {row.block}", *("-" if norm is None else f"{norm:.3g}" for norm in row.norms))
        for row in rows
    ]
    print_table(
        "Gradient norms; - where none arrives",
        ("in the parameters of", *(row.block for row in rows)),
        lines,
    )
    for row in rows:
        for position in row.leaks_into:
            print(f"LEAK: the loss of {row.block} reaches the parameters of {rows[position].block}")
        if row.unreached:
            print(
                f"{row.block}: {len(row.unreached)} of its own parameters get no gradient: "
                f"{row.unreached[0]}, ..."
            )
    isolated = not any(row.leaks_into for row in rows)
    shared = [row.block for row in rows if sum(row.allowed) > 1]
    if isolated:
        print(
            "Isolated: every loss reaches its own block and no other"
            + (
                f", but for stages shared with the block before ({', '.join(shared)})"
                if shared
                else ""
            )
            + "."
        )
    return isolated


def print_validation(metrics: Mapping[str, float]) -> None:
    """What `validate` measured, a line per block and a column per metric; single steps of a
    prediction are left out.

    Args:
        metrics: by `BLOCK/val_METRIC`, in the order of the blocks.
    """
    by_block: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        block, _, name = key.rpartition("/val_")
        if block and not STEP.fullmatch(name):
            by_block.setdefault(block, {})[name] = value
    names = list(dict.fromkeys(name for values in by_block.values() for name in values))
    lines = [
        (block, *(f"{values[name]:.4g}" if name in values else "-" for name in names))
        for block, values in by_block.items()
    ]
    if lines:
        print_table("Local losses on held-out samples", ("block", *names), lines)


def print_results(results: Results) -> None:
    """What an evaluation found: a line per feature, a column per value; where there are many values
    a table per kind of feature, with a line per value and a column per stage."""
    unit = f", {results.unit}" if results.unit else ""
    title = f"{results.full_title}{unit}"
    if len(results.names) > MOST_COLUMNS:
        for feature in feature_order(results.rows):
            _print_by_value(f"{title}: {feature_name(feature)}", results, feature)
        return
    lines = [
        (
            f"{row.index} {row.stage}",
            feature_name(row.feature),
            *(_cell(row, name, results.unit) for name in results.names),
        )
        for row in results.rows
    ]
    print_table(title, ("stage", "feature", *map(value_name, results.names)), lines, names=2)


def _print_by_value(title: str, results: Results, feature: str) -> None:
    rows = [row for row in results.rows if row.feature == feature]
    names = [name for name in results.names if any(name in row.values for row in rows)]
    lines = [
        (value_name(name), *(_cell(row, name, results.unit) for row in rows)) for name in names
    ]
    print_table(title, ("", *(f"{row.index} {row.stage}" for row in rows)), lines)


def _cell(row: Row, name: str, unit: str) -> str:
    return shown(row.values[name], unit) if name in row.values else "-"
