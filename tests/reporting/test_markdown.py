"""Tables in Markdown."""

from pathlib import Path

from blocklearn.evaluation import Row
from blocklearn.reporting.markdown import write_markdown
from blocklearn.reporting.results import Results


def results(*rows: Row) -> Results:
    return Results("c", "digits", None, 10, {}, rows)


def test_every_value_of_every_feature_has_a_table_with_mean_and_spread_over_seeds(
    tmp_path: Path,
) -> None:
    def seed(first: float, head: float) -> Results:
        raw = Row("layer1", 1, "raw", {"top1": first, "top5": 99.0})
        return results(raw, Row("layer2", 2, "head", {"top1": head}))

    short = results(Row("layer1", 1, "raw", {"top1": 1.0}))
    runs = {"a|b": [seed(90.0, 60.0), seed(94.0, 62.0)], "c": [short], "failed": []}
    text = write_markdown([runs], tmp_path / "all.md").read_text()
    assert (
        text
        == """\
## Linear probes on digits, accuracy in %, mean ± sd of 1 to 2 seeds

| top-1 global average | 1 layer1 |
| --- | ---: |
| a\\|b | 92.0 ± 2.8 |
| c | 1.0 |

| top-1 pooling head | 2 layer2 |
| --- | ---: |
| a\\|b | 61.0 ± 1.4 |

| top-5 global average | 1 layer1 |
| --- | ---: |
| a\\|b | 99.0 ± 0.0 |
"""
    )
