"""The arithmetic of ImageNet-C (arXiv 1903.12261, section 4.2)."""

from collections.abc import Mapping, Sequence

from blocklearn.data.images.corruptions import COUNTED, SEVERITIES

# AlexNet's error in % on ImageNet-C, mean over the five severities: what mCE divides by. Published
# with the data set.
ALEXNET: dict[str, float] = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}


def summarised(
    clean: float, errors: Mapping[tuple[str, int], float], imagenet: bool
) -> dict[str, float]:
    """The values of one feature, errors in %.

    `clean`; `mean`, over the corruptions of the 15 that were asked for (over the extra ones where
    only such were); `above_clean`, mean minus clean, in percentage points: the numerator of the
    paper's relative error, which divides by AlexNet's; `mce`, where it is defined: on ImageNet with
    all 15 corruptions and all five severities; then the error of each corruption, the mean over
    its severities.

    Args:
        clean: error on the clean images.
        errors: by corruption and severity.
        imagenet: whether AlexNet's errors are of the same classes.
    """
    names = list(dict.fromkeys(name for name, _ in errors))
    by_name = {name: _mean([errors[case] for case in errors if case[0] == name]) for name in names}
    counted = [name for name in names if name in COUNTED] or names
    mean = _mean([by_name[name] for name in counted])
    values = {"clean": clean, "mean": mean, "above_clean": mean - clean}
    whole = all((name, severity) in errors for name in COUNTED for severity in SEVERITIES)
    if imagenet and whole:
        values["mce"] = mean_corruption_error(by_name)
    return {**values, **by_name}


def mean_corruption_error(errors: Mapping[str, float]) -> float:
    """mCE in %: 100 for AlexNet. Each corruption's error over AlexNet's, then the mean of the 15.

    Args:
        errors: in %, by corruption, mean over the five severities; others than the 15 do not count.

    Raises:
        KeyError: where one of the 15 is missing.
    """
    return _mean([100 * errors[name] / alexnet for name, alexnet in ALEXNET.items()])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
