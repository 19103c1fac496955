from collections import deque

import pytest
import torch

from blocklearn.distributed.borders import Border, Borders
from blocklearn.distributed.channel import places, put_together, take_apart
from blocklearn.distributed.late_rows import LateRows


class Store:
    """The part of torch's store that is used, in one process."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.kept[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.kept for key in keys)

    def delete_key(self, key: str) -> None:
        del self.kept[key]


def test_a_message_comes_back_with_its_structure_and_its_order_in_memory() -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)  # pyright: ignore
    message = {"views": [image, image[:0]], "pair": (torch.tensor(3), None), "name": "mask", "n": 4}
    structure, tensors = take_apart(message)
    assert all(tensor.is_contiguous() for tensor in tensors)
    assert [place.shape for place in places(structure)] == [tuple(t.shape) for t in tensors]
    back = put_together(structure, deque(tensors))
    assert torch.equal(back["views"][0], image)
    assert back["views"][0].stride() == image.stride()
    assert back["views"][1].shape == (0, 3, 4, 5)
    assert back["pair"] == (torch.tensor(3), None)
    assert (back["name"], back["n"]) == ("mask", 4)


def test_a_tensor_that_is_no_block_of_memory_is_copied_into_one() -> None:
    every_other = torch.arange(12.0).view(3, 4)[:, ::2]
    structure, (sent,) = take_apart(every_other)
    assert sent.is_contiguous()
    assert torch.equal(put_together(structure, deque([sent])), every_other)


def test_a_signal_that_a_later_process_received_ends_all_behind_one_batch() -> None:
    store = Store()
    first, later = Borders(store, decides=True), Borders(store, decides=False)
    later.before(3, True, [Border(signal=15)])
    first.before(5, False, [Border()])  # gradients wait behind this batch
    first.before(6, True, [Border()])
    for borders in (first, later):
        for step in range(8):
            borders.behind(step)
            assert borders.here == Border(signal=15 if step == 6 else 0)


def test_a_wish_to_save_is_that_of_the_first_process_alone() -> None:
    store = Store()
    first, later = Borders(store, decides=True), Borders(store, decides=False)
    later.before(0, True, [Border(save=True)])
    later.behind(0)
    assert later.here == Border()
    first.before(1, True, [Border(save=True)])
    later.behind(1)
    assert later.here == Border(save=True)


def test_rows_are_joined_and_written_in_order_when_all_are_there() -> None:
    store, written = Store(), []
    first = LateRows(store, 0, [0, 2], lambda step, row: written.append((step, row)))
    later = LateRows(store, 2, [0, 2], lambda *_: None)
    apart = LateRows(store, 1, [0, 2], lambda *_: None)  # it has a copy's blocks
    first.give(1, {"block1/loss": 0.1, "epoch": 0})
    first.give(2, {})
    first.give(3, {"block1/loss": 0.3})
    apart.give(1, {"block1/loss": 9.0})
    assert written == []
    later.give(1, {"block2/loss": 1 / 3, "epoch": 0})
    first.write_complete()
    assert written == [(1, {"block1/loss": 0.1, "epoch": 0, "block2/loss": 1 / 3})]
    later.give(2, {})
    later.give(3, {"block2/loss": float("inf")})
    first.finish()
    assert written[1:] == [(3, {"block1/loss": 0.3, "block2/loss": float("inf")})]


def test_a_row_that_never_comes_is_told() -> None:
    first = LateRows(Store(), 0, [0, 1], lambda *_: None, timeout_s=0.05)
    first.give(1, {"block1/loss": 0.1})
    with pytest.raises(RuntimeError, match="timed out waiting for the metrics"):
        first.finish()
