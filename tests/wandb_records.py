"""What W&B keeps of a run offline, read without W&B's server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore

IDENT, HEADER, BLOCK = 7, 7, 32768
FULL, LAST = 1, 4  # kinds of pieces with which a record ends


def records(content: bytes) -> Iterator[Any]:
    """Of a `.wandb` file: pieces of up to a block, as LevelDB's log has them."""
    at, whole = IDENT, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, LAST):
            yield Record.FromString(whole)
            whole = b""


def summary(folder: Path) -> dict[str, Any]:
    """The last value of everything that the run in `folder` sent to W&B."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("wandb/*run-*/*.wandb")):
        for record in records(path.read_bytes()):
            if record.WhichOneof("record_type") == "summary":
                for update in record.summary.update:
                    name = update.key or "/".join(update.nested_key)
                    found[name] = json.loads(update.value_json)
    return found
