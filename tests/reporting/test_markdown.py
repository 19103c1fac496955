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
    text = write_markdown({"--test KNN": runs}, tmp_path / "all.md").read_text()
    assert (
        text
        == """\
## Linear probes on digits, accuracy in %, mean ± sd of 1 to 2 seeds: --test KNN

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


def test_what_a_stage_adds_to_the_one_before_is_the_difference_within_every_seed(
    tmp_path: Path,
) -> None:
    def seed(*top1: float) -> Results:
        raw = [Row(f"layer{i}", i, "raw", {"top1": v}) for i, v in enumerate(top1, 1) if v]
        return results(*reversed(raw), Row("layer2", 2, "head", {"top1": 50.0}))

    runs = {"a": [seed(90.0, 91.0, 94.0), seed(60.0, 65.0, 64.0)], "b": [seed(70.0, 0, 69.0)]}
    text = write_markdown({"": runs}, tmp_path / "all.md").read_text()
    assert (
        """\
| top-1 global average, minus the stage before | 2 layer2 | 3 layer3 |
| --- | ---: | ---: |
| a | 3.0 ± 2.8 | 1.0 ± 2.8 |
| b | - | -1.0 |
"""
        in text
    )
    assert text.count("minus the stage before") == 1, "one head has no stage before it"
