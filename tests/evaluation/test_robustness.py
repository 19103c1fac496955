import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import same_weights, small_network, small_trainer, weights
from torch.utils.data import Subset

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import BarlowTwinsViews, CropViews, Digits, ImageDataModule, Synthetic
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.data.images.corruptions import COUNTED, corrupt
from blocklearn.data.images.corruptions.corrupted_images import CorruptedImages
from blocklearn.data.images.corruptions.plain_pixels import PlainPixels, centre_crop
from blocklearn.evaluation import LinearProbe, Robustness
from blocklearn.evaluation.corruption_error import ALEXNET, mean_corruption_error, summarised
from blocklearn.evaluation.evaluation import Evaluation
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.pictures.figure import told
from blocklearn.seeding import fold_seed

QUICK = ProbeSettings(epochs=2, augment=False)
FEW = {"corruptions": ["gaussian_noise", "contrast"], "severities": [1, 5]}


class FewDigits(Digits):
    """The first of them."""

    def pretraining_samples(self) -> Subset:  # pyright: ignore
        return Subset(super().pretraining_samples(), range(200))  # pyright: ignore

    def test_samples(self) -> Subset:  # pyright: ignore
        return Subset(super().test_samples(), range(90))  # pyright: ignore


def ready(evaluation: Evaluation, folder: Path) -> Evaluation:
    torch.manual_seed(0)
    return evaluation.under(QUICK, lambda epochs: small_trainer(folder, max_epochs=epochs))


def write_ready_made(folder: Path, data: ImageDataModule, cases: list[tuple[str, int]]) -> None:
    samples, plain = data.test_samples(), PlainPixels(data)
    for name, severity in cases:
        for index in range(len(samples)):
            image, label = samples[index]
            made = corrupt(plain(image), name, severity, fold_seed(0, index))
            place = folder / name / str(severity) / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(made).save(place / f"{index:04}.png")


def test_mce_is_the_mean_of_fifteen_ratios() -> None:
    assert list(ALEXNET) == list(COUNTED)
    assert mean_corruption_error(ALEXNET) == pytest.approx(100), "AlexNet's own is 100 %"
    assert mean_corruption_error({k: v / 2 for k, v in ALEXNET.items()}) == pytest.approx(50)
    # one corruption at 0: fourteen ratios of 1 and one of 0
    assert mean_corruption_error({**ALEXNET, "fog": 0.0}) == pytest.approx(100 * 14 / 15)
    assert mean_corruption_error({**ALEXNET, "spatter": 3.0}) == pytest.approx(100)
    flat = dict.fromkeys(COUNTED, 50.0)  # ratios, not a ratio of sums
    by_hand = sum(5000 / error for error in ALEXNET.values()) / 15
    assert mean_corruption_error(flat) == pytest.approx(by_hand)
    assert by_hand != pytest.approx(100 * 50 * 15 / sum(ALEXNET.values()), rel=1e-3)
    with pytest.raises(KeyError):
        mean_corruption_error({"fog": 1.0})


def test_a_small_table_is_summarised_as_by_hand() -> None:
    errors = {("fog", 1): 10.0, ("fog", 5): 30.0, ("snow", 1): 40.0, ("snow", 5): 60.0}
    extra = {("spatter", 1): 90.0, ("spatter", 5): 98.0}
    found = summarised(5.0, {**errors, **extra}, imagenet=True)
    assert found == {
        "clean": 5,
        "mean": 35,  # of 20 and 50; extra ones do not count
        "above_clean": 30,
        "fog": 20,
        "snow": 50,
        "spatter": 94,
    }, "no mce of two corruptions"
    assert summarised(5.0, extra, imagenet=False)["mean"] == 94, "where nothing else was asked for"


def test_mce_is_told_on_imagenet_alone() -> None:
    whole = {(name, severity): ALEXNET[name] for name in COUNTED for severity in range(1, 6)}
    assert summarised(43.5, whole, imagenet=True)["mce"] == pytest.approx(100)
    assert "mce" not in summarised(43.5, whole, imagenet=False)
    del whole["fog", 3]
    assert "mce" not in summarised(43.5, whole, imagenet=True)


def test_clean_errors_are_those_of_the_linear_probe_and_the_network_stays(tmp_path: Path) -> None:
    network, data = small_network(), FewDigits(seed=0)
    before = weights(network)
    data.setup()
    probed = ready(LinearProbe(), tmp_path).run(network, data)
    evaluation = ready(Robustness(**FEW), tmp_path)
    rows = evaluation.run(network, data)
    assert [(row.stage, row.feature) for row in rows] == [(p.stage, p.feature) for p in probed]
    for row, other in zip(rows, probed, strict=True):
        assert row.values["clean"] == pytest.approx(100 - other.values["top1"], abs=1e-4)
        assert [*row.values] == ["clean", "mean", "above_clean", "gaussian_noise", "contrast"]
        mean = (row.values["gaussian_noise"] + row.values["contrast"]) / 2
        assert row.values["mean"] == pytest.approx(mean)
    assert same_weights(before, weights(network))
    assert not evaluation.higher_is_better
    torch.manual_seed(0)
    assert evaluation.run(network, data) == rows, "the same draws"


def test_files_made_beforehand_give_what_is_made_on_the_fly(tmp_path: Path) -> None:
    network, data = small_network(), FewDigits(seed=0)
    data.setup()
    fly = Robustness(**FEW)
    write_ready_made(tmp_path / "c", data, fly.cases)
    rows = ready(fly, tmp_path).run(network, data)
    assert ready(Robustness(folder=str(tmp_path / "c"), **FEW), tmp_path).run(network, data) == rows


def test_a_folder_that_lacks_something_is_told_in_one_line(tmp_path: Path) -> None:
    network, data = small_network(), FewDigits(seed=0)
    data.setup()

    def told_by(folder: Path) -> str:
        with pytest.raises(UserError) as error:
            ready(Robustness(folder=str(folder), **FEW), tmp_path).run(network, data)
        assert "\n" not in str(error.value)
        return str(error.value)

    folder = tmp_path / "c"
    assert told_by(folder) == f"evaluation.folder: {folder} is not there"
    write_ready_made(folder, data, [("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1)])
    assert told_by(folder).startswith(
        f"evaluation.folder: {folder / 'contrast' / '5'} is not there"
    )
    (folder / "gaussian_noise" / "1" / "another").mkdir()
    assert "has 11 class folders, the data has 10 classes" in told_by(folder)


def test_ready_made_images_are_cropped_and_never_enlarged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    assert np.array_equal(centre_crop(Image.fromarray(pixels), 8), pixels[1:9, 2:10])
    with pytest.raises(UserError, match="12 x 10 pixels is smaller than the views of 11"):
        centre_crop(Image.fromarray(pixels), 11)


@pytest.mark.parametrize("recipe", [None, BarlowTwinsViews, CropViews, "grey"])
def test_the_normalisation_is_taken_back_and_done_again_to_the_last_bit(recipe: object) -> None:
    if recipe is None:
        data: ImageDataModule = Digits()
    else:
        grey = recipe == "grey"
        chosen = (lambda spec: CropViews(spec, greyscale=True)) if grey else recipe
        data = Synthetic(image_size=24, recipe=chosen)  # pyright: ignore
    plain = PlainPixels(data)
    image = data.test_samples()[0][0]
    pixels = plain(image)
    assert pixels.shape == (data.image_size, data.image_size, 3)
    again = plain.views(torch.from_numpy(pixels)[None])[0]
    assert torch.equal(again, data.recipe.plain_view(image))


def test_a_recipe_that_does_something_else_is_refused() -> None:
    class Doubled(BarlowTwinsViews):
        def plain_view(self, image: Image.Image) -> torch.Tensor:
            return 2 * super().plain_view(image)

    data = Digits(recipe=Doubled)
    with pytest.raises(UserError, match="cannot take back the normalisation of Doubled"):
        PlainPixels(data)(data.test_samples()[0][0])


def test_an_image_has_the_same_draws_whatever_other_images_are_tested() -> None:
    data = Digits()
    plain, cases = PlainPixels(data), [("gaussian_noise", 3), ("fog", 2)]
    samples = data.test_samples()
    every = CorruptedImages(samples, range(len(samples)), plain, cases, 0)
    few = CorruptedImages(samples, evenly_spaced(len(samples), 7), plain, cases[1:], 0)
    batch = few[3]
    assert torch.equal(batch.views[0][1], every[int(batch.index)].views[0][2])
    other = CorruptedImages(samples, range(len(samples)), plain, cases, 1)
    assert not torch.equal(other[0].views[0][1], every[0].views[0][1])
    assert torch.equal(other[0].views[0][0], every[0].views[0][0])


def test_few_samples_are_spread_over_the_set() -> None:
    assert evenly_spaced(10, None) == list(range(10))
    assert evenly_spaced(10, 20) == list(range(10))
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]


def test_it_is_chosen_by_its_name_and_leaves_pictures_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        "--evaluation=Robustness",
        "--evaluation.corruptions=[fog,snow,spatter]",
        "--evaluation.severities=[1,3]",
        "--evaluation.samples=40",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--probe.epochs=1",
        "--probe.augment=false",
        "--data.num_workers=0",
        "--wandb.mode=disabled",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    assert "Errors under corruption on digits, error in %" in " ".join(
        capsys.readouterr().out.split()
    )
    folder = tmp_path / "robustness"
    results = json.loads((folder / "results.json").read_text())
    assert results["values"] == ["clean", "mean", "above_clean", "fog", "snow", "spatter"]
    assert results["settings"]["samples"] == 40
    assert results["settings"]["severities"] == [1, 3]
    assert not results["higher_is_better"]
    with (folder / "robustness.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(results["rows"]) * (1 + 3 * 2)
    row = results["rows"][0]
    fog = [
        float(line["error"])
        for line in table
        if line["corruption"] == "fog" and line["stage"] == "layer1" and line["feature"] == "raw"
    ]
    assert row["fog"] == pytest.approx(sum(fog) / 2, abs=1e-3)
    assert "fog, snow, spatter" in told(folder / "corruptions.png")[1]
    assert "layer4, head" in told(folder / "robustness.png")[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"corruptions": []}, "at least one corruption"),
        ({"severities": [0]}, "severity of 1 to 5"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"corruptions": ["jpeg"]}, "no corruption is called jpeg; did you mean jpeg_compression"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Robustness(**wrong)  # pyright: ignore[reportArgumentType]


def test_sound_is_refused(tmp_path: Path) -> None:
    from sounds import write_librispeech

    from blocklearn.data import LibriSpeech

    data = LibriSpeech(write_librispeech(tmp_path), num_workers=0)
    with pytest.raises(UserError, match="Robustness corrupts images"):
        Robustness().run(small_network(), data)
