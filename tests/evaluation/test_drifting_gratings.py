"""Gratings against their formula, ridge regression against its closed form."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import MovingDigits
from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.evaluation import DriftingGratings
from blocklearn.evaluation.drifting_gratings import PENALTIES, GratingBatches, cross_validated_r2
from blocklearn.evaluation.gratings import Gratings
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.seen_pixels import SeenPixels
from blocklearn.objectives.objective import NoObjective
from blocklearn.pictures.figure import told


def one(*attributes: float) -> Gratings:
    return Gratings(*(torch.tensor([value], dtype=torch.float64) for value in attributes))


def test_a_grating_is_that_of_its_formula_pixel_by_pixel() -> None:
    orientation, f, w, contrast, phase = 30.0, 3.0, 2.0, 0.6, 70.0
    seen = one(orientation, f, w, contrast, phase).luminance(8, 4)[0]
    turn = math.radians(orientation)
    for t in range(4):
        for row in range(8):
            for column in range(8):
                x, y = (column + 0.5) / 8 - 0.5, (row + 0.5) / 8 - 0.5
                u = x * math.cos(turn) + y * math.sin(turn)
                wave = math.cos(2 * math.pi * (f * u - w * t / 4) + math.radians(phase))
                assert float(seen[t, row, column]) == pytest.approx((1 + contrast * wave) / 2)


def test_its_attributes_are_what_can_be_measured_of_it() -> None:
    clip = one(90.0, 5.0, 3.0, 0.5, 0.0).luminance(64, 16)[0].double()
    spectrum = torch.fft.fftn(clip - clip.mean()).abs()
    time, rows, columns = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
    assert (min(time, 16 - time), min(rows, 64 - rows), columns) == (3, 5, 0)
    assert float((clip.max() - clip.min()) / (clip.max() + clip.min())) == pytest.approx(
        0.5, abs=0.01
    )


def test_what_is_drawn_lies_in_its_range_and_depends_on_the_seed_alone() -> None:
    drawn = Gratings.draw(400, 64, 16, seed=1)
    assert torch.equal(drawn.phase, Gratings.draw(400, 64, 16, seed=1).phase)
    assert not torch.equal(drawn.phase, Gratings.draw(400, 64, 16, seed=2).phase)
    for values, low, high in (
        (drawn.orientation, 0, 180),
        (drawn.spatial_frequency, 1, 16),
        (drawn.temporal_frequency, 0, 4),
        (drawn.contrast, 0.1, 1),
        (drawn.phase, 0, 360),
    ):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    assert len(drawn.targets()) == 5
    still = Gratings.draw(400, 64, 1, seed=1)
    assert "temporal_frequency" not in still.targets()
    turned = one(190.0, 1, 0, 1, 370.0), one(10.0, 1, 0, 1, 10.0)
    columns = [torch.stack([t.orientation, t.phase]) for t in turned]
    assert not torch.equal(*columns)
    both = Gratings(*(torch.cat([getattr(t, n) for t in turned]) for n in vars(turned[0])))
    two = Gratings(*(torch.cat([values, values + 1]) for values in vars(both).values())).targets()
    torch.testing.assert_close(two["orientation"][0], two["orientation"][1])
    torch.testing.assert_close(two["phase"][0], two["phase"][1])


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 16), (3, 4, 16, 16)])
def test_a_network_sees_them_normalised_as_an_image_is(shape: tuple[int, ...]) -> None:
    gratings = Gratings.draw(5, 16, 4, seed=0)
    normalised = ToNormalisedTensor(ImageSpec(16).in_grey() if shape[0] == 1 else ImageSpec(16))
    pixels = SeenPixels(small_data(), shape[0], "DriftingGratings")
    batches = list(GratingBatches(gratings, shape, pixels, 3))
    assert [batch.views[0].shape for batch in batches] == [(3, *shape), (2, *shape)]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(5))
    frames = shape[1] if len(shape) == 4 else 1
    pixels = gratings.luminance(16, frames)[4, frames - 1]
    image = Image.fromarray((255 * pixels).round().to(torch.uint8).numpy())
    expected = normalised(image if shape[0] == 1 else image.convert("RGB"))
    seen = batches[1].views[0][1]
    last = seen[:, frames - 1] if len(shape) == 4 else seen
    torch.testing.assert_close(last, expected, atol=0.02, rtol=0)


def plain_r2(features: np.ndarray, target: np.ndarray, folds: int) -> float:
    """The closed form, and every penalty tried by leaving each training sample out in turn."""
    found = []
    for held in np.array_split(np.arange(len(features)), folds):
        learned = np.setdiff1d(np.arange(len(features)), held)
        mean = features[learned].mean(axis=0)
        std = math.sqrt(np.mean(features[learned].std(axis=0) ** 2))
        x, y = (features[learned] - mean) / std, target[learned]

        def fitted(rows: np.ndarray, penalty: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
            """Weights, and the intercept in front, which has no penalty."""
            padded = np.column_stack([np.ones(len(rows)), x[rows]])
            ridge = penalty * np.diag([0.0] + [1.0] * x.shape[1])
            return np.linalg.solve(padded.T @ padded + ridge, padded.T @ y[rows])

        every = np.arange(len(x))
        errors = [
            sum(
                (y[n] - np.r_[1.0, x[n]] @ fitted(np.delete(every, n), penalty, x, y)) ** 2
                for n in every
            )
            for penalty in PENALTIES
        ]
        weights_ = fitted(every, float(PENALTIES[int(np.argmin(errors))]), x, y)
        seen = np.column_stack([np.ones(len(held)), (features[held] - mean) / std])
        left = ((target[held] - seen @ weights_) ** 2).sum()
        found.append(1 - left / ((target[held] - target[held].mean()) ** 2).sum())
    return float(np.mean(found))


def test_r2_is_that_of_the_closed_form_on_gratings_that_were_held_out() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(31, 6)) * [1, 5, 0.1, 1, 1, 1] + 3
    targets = np.column_stack(
        [features[:, 0] + 0.5 * draw.normal(size=31), draw.normal(size=31), features[:, 1]]
    )
    found = cross_validated_r2(features, targets, 3)
    expected = [plain_r2(features, column, 3) for column in targets.T]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] > 0.5
    assert found[1] < 0.1, "a target of noise is not told"
    assert found[2] > 0.99


def test_each_attribute_has_the_mean_of_its_own_columns() -> None:
    gratings = Gratings.draw(90, 32, 16, seed=0)
    targets = gratings.targets()
    known = torch.cat([targets["orientation"], targets["contrast"]], dim=1)
    found = DriftingGratings().scores(known, targets)
    assert found["orientation"] > 0.999
    assert found["contrast"] > 0.999
    assert max(found["phase"], found["spatial_frequency"], found["temporal_frequency"]) < 0.2
    assert found["mean"] == pytest.approx(sum(v for n, v in found.items() if n != "mean") / 5)


def test_on_the_command_line_it_ends_in_a_table_and_two_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        "--evaluation=DriftingGratings",
        "--evaluation.samples=60",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--wandb.mode=disabled",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    assert "Low-level probes on drifting gratings, R²" in capsys.readouterr().out
    results = json.loads((tmp_path / "gratings" / "results.json").read_text())
    assert results["values"] == ["mean", "orientation", "spatial_frequency", "contrast", "phase"]
    assert results["dataset"] == "drifting gratings"
    assert "orientation (raw)" in told(tmp_path / "gratings" / "attributes.png")[1]
    assert told(tmp_path / "gratings" / "gratings.png")[0] == "6 of 60 gratings"


def test_the_network_stays_as_it_is_and_the_labels_do_not_matter(tmp_path: Path) -> None:
    def looked() -> DriftingGratings:
        return DriftingGratings(samples=30, features=["raw"]).under(
            ProbeSettings(), lambda epochs: small_trainer(tmp_path)
        )

    network = small_network()
    before = weights(network)
    rows = looked().run(network, small_data(seed=3))
    assert same_weights(before, weights(network))
    assert rows == looked().run(network, small_data(seed=3, num_images=16, num_classes=2))
    assert rows != looked().run(network, small_data(seed=4))


def test_of_clips_it_tells_the_temporal_frequency_too(tmp_path: Path) -> None:
    clips = {"frames": 4, "tubelet": 2, "img_size": 16, "patch_size": 8}
    size = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    network = small_network(
        objective=NoObjective, backbone="video_vit_tiny", backbone_kwargs={**clips, **size}
    )
    looked = DriftingGratings(samples=60).under(
        ProbeSettings(), lambda epochs: small_trainer(tmp_path)
    )
    data = MovingDigits(frames=4, image_size=16, seed=0)
    rows = looked.run(network, data)
    assert [*rows[0].values] == ["mean", *Gratings.draw(9, 16, 4, 0).targets()]
    assert len(rows[0].values) == 6
    attributes, sheet = looked.leave(tmp_path)
    assert "temporal frequency (raw)" in told(attributes)[1]
    assert "a clip" in told(sheet)[1]


def test_what_cannot_be_shown_is_refused_in_a_line() -> None:
    sound = small_network(backbone="gim_speech_8k", backbone_kwargs={"channels": 6})
    with pytest.raises(UserError, match="this network takes sound; choose another"):
        DriftingGratings().run(sound, small_data())
    with pytest.raises(ValueError, match="folds >= 2, two samples for each"):
        DriftingGratings(samples=5)
