"""Data that live on the device whole."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import StopAt, same_weights, small_data, small_network, small_trainer, weights

from blocklearn import SequentialSchedule, UserError
from blocklearn.callbacks import CacheFrozenBlocks
from blocklearn.data import BarlowTwinsViews, CropViews, Digits, ImageFolder, ImageSpec, Synthetic
from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.loader import KeyedSampler
from blocklearn.data.resident import ResidentImages, ResidentLoader

resident_data = partial(small_data, resident=True, seed=0)


def test_an_epoch_holds_every_sample_once_with_its_own_label() -> None:
    data = resident_data()
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    index = torch.cat([batch.index for batch in batches])
    assert index.sort().values.tolist() == list(range(32))
    samples = data.pretraining_samples()
    assert torch.cat([batch.label for batch in batches]).tolist() == [
        samples[i][1] for i in index.tolist()
    ]
    assert [tuple(view.shape) for view in batches[0].views] == [(8, 3, 32, 32)] * 2


def views_of(epoch: int = 0, **changes: object) -> dict[int, list[torch.Tensor]]:
    loader = resident_data(**changes).train_dataloader()
    loader.sampler.set_epoch(epoch)
    return {int(i): [v[row] for v in b.views] for b in loader for row, i in enumerate(b.index)}


def test_views_depend_on_seed_epoch_sample_and_view_and_not_on_the_batch_size() -> None:
    base, other = views_of(), views_of(batch_size=16)
    assert all(
        torch.allclose(a, b, atol=1e-5)
        for i in base
        for a, b in zip(base[i], other[i], strict=True)
    )
    assert not torch.equal(base[3][0], base[3][1])
    assert not torch.equal(base[3][0], views_of(epoch=1)[3][0])
    assert not torch.equal(base[3][0], views_of(seed=1)[3][0])
    fixed = views_of(epoch=1, fixed_views=True)
    assert all(torch.allclose(base[i][0], fixed[i][0], atol=1e-5) for i in base)


def test_processes_share_every_batch_out_among_them() -> None:
    pixels = torch.randint(0, 256, (26, 3, 8, 8), dtype=torch.uint8)
    images = ResidentImages(pixels, torch.arange(26))
    recipe = BarlowTwinsViews(ImageSpec(8), blur=(0.0, 0.0))

    def loader(shuffle: bool, replicas: int, rank: int) -> ResidentLoader:
        return ResidentLoader(images, recipe, KeyedSampler(pixels, 8, shuffle, 0, replicas, rank))

    for shuffle, count in ((True, 3), (False, 3)):
        whole = list(islice(loader(shuffle, 1, 0), count))
        parts = [list(loader(shuffle, 4, rank)) for rank in range(4)]
        assert {len(part) for part in parts} == {len(loader(shuffle, 4, 0))} == {count}
        for number, batch in enumerate(whole):
            for view in range(2):
                together = torch.cat([part[number].views[view] for part in parts])
                torch.testing.assert_close(together, batch.views[view], rtol=0, atol=1e-5)


def train(
    folder: Path, network: Any = None, data: Any = None, resume: Path | None = None, **changes: Any
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = network or small_network()
    trainer = small_trainer(folder, **{"max_epochs": 2, "limit_val_batches": 1, **changes})
    trainer.fit(network, datamodule=data or resident_data(), ckpt_path=resume, weights_only=True)
    return weights(network)


def test_the_same_seed_gives_the_same_weights_and_a_resumed_run_goes_on_bitwise(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path / "whole")
    assert same_weights(whole, train(tmp_path / "again"))
    path = tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "cut", callbacks=[StopAt(6, path)])
    assert same_weights(whole, train(tmp_path / "resumed", resume=path))


def test_stored_features_of_frozen_blocks_stand_in_for_the_views(tmp_path: Path) -> None:
    def run(folder: str, *callbacks: CacheFrozenBlocks) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = small_network(
            schedule=SequentialSchedule(), optimizer=partial(torch.optim.SGD, lr=0.1)
        )
        data = resident_data(fixed_views=True)
        return train(
            tmp_path / folder,
            network,
            data,
            max_epochs=4,
            limit_val_batches=0,
            callbacks=list(callbacks),
        )

    plain, cached = run("plain"), run("cached", CacheFrozenBlocks())
    for name, tensor in plain.items():
        torch.testing.assert_close(cached[name], tensor, rtol=0, atol=1e-5)


def test_training_images_are_read_once_however_often_blocks_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, read = resident_data(fixed_views=True), []
    samples = type(data.pretraining_samples())
    monkeypatch.setattr(samples, "__getitem__", counted(samples.__getitem__, read))
    network = small_network(schedule=SequentialSchedule())
    train(
        tmp_path, network, data, max_epochs=4, limit_val_batches=0, callbacks=[CacheFrozenBlocks()]
    )
    assert len(read) == len(data.pretraining_samples()) + 1  # the first one tells the size


def counted(get: Any, read: list[int]) -> Any:
    return lambda self, index: read.append(index) or get(self, index)


@pytest.mark.parametrize("data", [small_data, partial(Digits, batch_size=100, image_size=16)])
def test_the_distribution_is_that_of_the_host_recipe(data: partial) -> None:
    host, resident = (
        torch.cat(
            [
                b.views[1]
                for e in range(8)
                for b in at_epoch(data(resident=r, seed=0, num_workers=0), e)
            ]
        )
        for r in (False, True)
    )
    torch.testing.assert_close(host.mean((0, 2, 3)), resident.mean((0, 2, 3)), rtol=0, atol=0.06)
    torch.testing.assert_close(host.std((0, 2, 3)), resident.std((0, 2, 3)), rtol=0.06, atol=0)
    torch.testing.assert_close(host.mean((0, 1)), resident.mean((0, 1)), rtol=0, atol=0.3)


def at_epoch(data: Synthetic | Digits, epoch: int):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return islice(loader, 4)


def test_a_glyph_is_moved_as_on_the_host() -> None:
    recipe = GlyphViews(ImageSpec(20), contrast=0.0)
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    ).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    draws = recipe.draw_views(30, 0, 8, 8, torch.Generator().manual_seed(0))
    batch = recipe.views_of(pixels.expand(30, -1, -1, -1), draws)
    for view, (_, _, turn, shear, zoom, right, down) in zip(batch, draws.tolist(), strict=True):
        turn, shear = (float(np.deg2rad(recipe.degrees * angle)) for angle in (turn, shear))
        moved = recipe._resample(
            image, turn, shear, 1 + recipe.zoom * zoom, recipe.shift * right, recipe.shift * down
        )
        difference = (view - moved).abs()
        # PIL rounds to whole grey levels; at the border a pixel is in or out
        assert difference.quantile(0.97) < 0.02
        assert difference.mean() < 0.03


def test_a_recipe_that_works_on_one_image_at_a_time_is_named_before_images_are_read() -> None:
    with pytest.raises(
        UserError, match="CropViews works on one image at a time.*choose another recipe"
    ):
        resident_data(recipe=CropViews, image_size=16)


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    for width in range(20, 30):
        Image.new("RGB", (width, 20)).save(folder / f"{width}.png")
    data = ImageFolder(tmp_path, batch_size=4, num_workers=0, image_size=16, resident=True)
    with pytest.raises(
        UserError, match="cannot live on the device together; set --data.resident false"
    ):
        data.train_dataloader()
