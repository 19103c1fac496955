"""Rows that are written one batch after the other are a safetensors file like any other."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from blocklearn.interop.rows_file import DTYPES, RowsFile


@pytest.mark.parametrize("sizes", [[7], [3, 3, 1]])
def test_a_file_of_rows_is_read_like_one_that_was_written_at_once(
    tmp_path: Path, sizes: list[int]
) -> None:
    whole = {
        **{str(dtype): torch.arange(7 * 3).view(7, 3).to(dtype) for dtype in DTYPES},
        "of one number": torch.arange(7),
        "of three axes": torch.randn(7, 2, 5),
    }
    parts = list(zip(*(tensor.split(sizes) for tensor in whole.values()), strict=True))
    file = RowsFile(
        tmp_path / "rows.safetensors",
        7,
        dict(zip(whole, parts[0], strict=True)),
        {"about": "\u00fcber"},
    )
    for part in parts:
        file.append(dict(zip(whole, part, strict=True)))
    file.close()
    found = load_file(tmp_path / "rows.safetensors")
    assert found.keys() == whole.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        for name, tensor in whole.items()
    )
    with safe_open(tmp_path / "rows.safetensors", "pt") as opened:
        assert opened.metadata() == {"about": "\u00fcber"}
