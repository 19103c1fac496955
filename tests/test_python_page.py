"""The Python of docs/python.md, as printed: every block, one after the other."""

import re
import warnings
from pathlib import Path

import pytest
from lightning.pytorch.utilities.seed import isolate_rng

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = [part.split("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]
SMALLER = {  # so that it takes seconds
    "[32, 48, 64, 96]": "[8, 8, 8, 8]",
    "max_epochs=10,": "max_epochs=1, limit_train_batches=4, limit_val_batches=1,",
    "width=256": "width=16",
    "widths=[256, 256]": "widths=[16, 16]",
    "standardise=True": "standardise=True, epochs=2",
    "features = trainer.predict": "trainer.limit_predict_batches = 1\nfeatures = trainer.predict",
}
OF_LIGHTNING = (  # a plain Trainer says more than ours
    ".*`tensorboardX` has been removed",
    ".*callbacks used to create the checkpoint need",
    "The dirpath has changed",
    ".*does not have many workers",
)


def run(blocks: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    made: dict[str, object] = {"__name__": "page"}
    with isolate_rng(), warnings.catch_warnings():
        for line in OF_LIGHTNING:
            warnings.filterwarnings("ignore", line)
        for block in blocks:
            exec(block, made)


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_block_of_the_page_runs_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = BLOCKS
    for printed, less in SMALLER.items():
        assert any(printed in block for block in small), printed
        small = [block.replace(printed, less) for block in small]
    run(small, tmp_path, monkeypatch)
    found = left(tmp_path / "runs" / "python")
    assert {f"{kind}/results.json" for kind in ("knn", "probe")} <= found
    assert {"checkpoints/last.ckpt", "checkpoints/best.ckpt"} <= found


def test_the_first_block_is_fifteen_lines_and_every_part_of_it_is_public() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line]
    assert len(lines) <= 15
    named = re.findall(r"from (blocklearn[\w.]*) import", BLOCKS[0])
    assert set(named) == {"blocklearn", "blocklearn.data"}


def test_the_readme_shows_the_first_block() -> None:
    assert BLOCKS[0] in (PAGE.parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_the_first_block_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(BLOCKS[:1], tmp_path, monkeypatch)
    assert "probe/accuracy_by_block.png" in left(tmp_path / "runs" / "python")
