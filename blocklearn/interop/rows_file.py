"""A safetensors file that is written row by row, for more features than memory holds."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}


class RowsFile:
    """Tensors of as many rows each, one batch after the other. The file has its whole size when it
    is made, and is to be read when all rows are there.

    Args:
        path: of the file.
        rows: of every tensor.
        example: some rows of each, for names, shapes and dtypes.
        metadata: texts by name.
    """

    def __init__(
        self, path: Path, rows: int, example: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        self._row_bytes = {
            name: prod(part.shape[1:]) * part.element_size() for name, part in example.items()
        }
        header: dict[str, object] = {"__metadata__": dict(metadata)}
        self._starts: dict[str, int] = {}
        end = 0
        # aligned that way
        for name in sorted(example, key=lambda name: (-example[name].element_size(), name)):
            start, end = end, end + rows * self._row_bytes[name]
            shape = [rows, *example[name].shape[1:]]
            header[name] = {
                "dtype": DTYPES[example[name].dtype],
                "shape": shape,
                "data_offsets": [start, end],
            }
            self._starts[name] = start
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._data = 8 + len(text)
        self._done = 0
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(self._data + end)

    @staticmethod
    def size(rows: int, example: Mapping[str, Tensor]) -> int:
        """Bytes of the data of such a file."""
        return rows * sum(prod(part.shape[1:]) * part.element_size() for part in example.values())

    def append(self, columns: Mapping[str, Tensor]) -> None:
        """The next rows of every tensor."""
        for name, start in self._starts.items():
            self._file.seek(self._data + start + self._done * self._row_bytes[name])
            self._file.write(
                columns[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            )
        self._done += len(next(iter(columns.values())))

    def close(self) -> None:
        self._file.close()
