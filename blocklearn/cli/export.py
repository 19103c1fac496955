"""`blocklearn export`: a trained network as files for timm and torchvision, with a model card."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RunFolder
from blocklearn.runs.strict_yaml import read_yaml


def run_export(args: list[str]) -> None:
    """Write backbone, heads, context networks and model card of a checkpoint, or of a published
    file, into a folder."""
    parser = argparse.ArgumentParser(prog="blocklearn export", description=__doc__)
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="a checkpoint of blocklearn fit, or a published file of weights",
    )
    parser.add_argument(
        "--to", type=Path, help="folder to write into; export/ in the run's folder if absent"
    )
    parser.add_argument(
        "--format", choices=("timm", "torchvision", "all"), default="all", help="(default: all)"
    )
    parser.add_argument(
        "--backbone", help="timm name of a published file's backbone, where it is not recognised"
    )
    options = parser.parse_args(args)

    import torch

    from blocklearn.interop.export import save_tensors
    from blocklearn.interop.input_facts import image_spec
    from blocklearn.interop.loading_code import TORCHVISION_FILE
    from blocklearn.interop.model_card import no_twin, write_model_card
    from blocklearn.interop.timm_folder import fits_timm, write_timm_config
    from blocklearn.interop.trained_weights import read_trained, torchvision_twin
    from blocklearn.training.finite import require_finite
    from blocklearn.weights.atomic_write import replacing
    from blocklearn.weights.checkpoint import EXPORTED, EXPORTED_HEADS

    run = RunFolder.of_checkpoint(options.checkpoint)
    folder: Path = options.to or run.export
    if options.to is None:
        run.require_no_links()
    RunFolder(folder).require_no_links()

    weights = read_trained(options.checkpoint, options.backbone)
    twin = torchvision_twin(weights.structure)
    if options.format == "torchvision" and twin is None:
        raise UserError(f"export: {no_twin(weights.structure)} Use --format timm")
    formats = [name for name in ("timm", "torchvision") if options.format in (name, "all")]
    if "torchvision" in formats and twin is None:
        formats.remove("torchvision")
        print(no_twin(weights.structure))
    if "timm" in formats:
        save_tensors(weights.backbone, weights.structure, folder / EXPORTED)
        if fits_timm(weights.structure, weights.backbone.keys()):
            spec = image_spec(_recipe_of(run, weights.structure.backbone) or {})
            write_timm_config(weights, folder, spec if spec and spec.size > 1 else None)
    if "torchvision" in formats:
        require_finite(weights.backbone, f"{folder / TORCHVISION_FILE} is not written")
        with replacing(folder / TORCHVISION_FILE) as unfinished:
            torch.save(
                {name: tensor.clone() for name, tensor in weights.backbone.items()}, unfinished
            )
    if weights.heads:
        named = {
            f"{stage}/{name}": tensor
            for stage, head in weights.heads.items()
            for name, tensor in head.items()
        }
        save_tensors(named, weights.structure, folder / EXPORTED_HEADS)
    card = write_model_card(
        weights.structure,
        names=weights.backbone.keys(),
        heads={
            stage: {name: t.shape for name, t in head.items()}
            for stage, head in weights.heads.items()
        },
        formats=formats,
        recipe=_recipe_of(run, weights.structure.backbone),
        probes=_probes_of(run, options.checkpoint),
    )
    with replacing(folder / "README.md") as unfinished:
        unfinished.write_text(card)
    print(f"Written: {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _recipe_of(run: RunFolder, backbone: str) -> Mapping[str, Any] | None:
    """The run's configuration; None where the file does not lie in a run of that backbone."""
    recipe = read_yaml(run.config) if run.config.is_file() else {}
    model = recipe.get("model")
    return recipe if isinstance(model, Mapping) and model.get("backbone") == backbone else None


def _probes_of(run: RunFolder, checkpoint: Path) -> list[Mapping[str, Any]]:
    """The results of the run's probes on all labels that are of this checkpoint."""
    from blocklearn.reporting.results import read_results

    of_it = [path for path in run.probes() if _checkpoint_name(path) == checkpoint.name]
    found = [read_results(path).as_plain() for path in of_it]
    return [results for results in found if results["settings"].get("labelled_part", 1) == 1]


def _checkpoint_name(results: Path) -> str:
    try:
        return Path(json.loads(results.read_text()).get("checkpoint") or "").name
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"export: {results} is damaged, or not written by blocklearn test; fix or remove it"
        ) from error
