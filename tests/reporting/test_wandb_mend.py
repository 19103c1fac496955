from pathlib import Path

import pytest

from blocklearn.reporting.wandb_mend import end_of_whole_records, mend_files

HEAD = b":W&B\xe1\xbe\0"


def piece(kind: int, content: bytes) -> bytes:
    return b"\0\0\0\0" + len(content).to_bytes(2, "little") + bytes([kind]) + content


WHOLE = HEAD + piece(1, b"one") + piece(2, b"t") + piece(3, b"w") + piece(4, b"o")


@pytest.mark.parametrize(
    "cut", [b"", piece(1, b"three")[:-1], piece(1, b"three")[:5], piece(2, b"begun"), b"\0" * 50]
)
def test_whole_records_end_before_what_was_cut(cut: bytes) -> None:
    assert end_of_whole_records(WHOLE + cut) == len(WHOLE)


def test_the_end_of_a_block_is_filled_up() -> None:
    first = HEAD + piece(1, bytes(32768 - len(HEAD) - 7 - 3))
    filled = first + b"\0\0\0" + piece(1, b"next block")
    assert len(first) == 32765
    assert end_of_whole_records(filled) == len(filled)
    assert end_of_whole_records(filled[:-1]) == len(first)


def test_only_the_files_of_the_run_are_mended_and_never_through_a_link(tmp_path: Path) -> None:
    mine, other = (
        tmp_path / "wandb" / f"offline-run-2026-{name}" / f"run-{name}.wandb"
        for name in ("mine", "other")
    )
    outside = tmp_path / "outside"
    for path in (mine, other, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(WHOLE + b"cut")
    link = tmp_path / "wandb" / "run-2027-mine" / "run-mine.wandb"
    link.parent.mkdir()
    link.symlink_to(outside)
    mend_files(tmp_path, "mine")
    assert [path.stat().st_size - len(WHOLE) for path in (mine, other, outside)] == [0, 3, 3]
