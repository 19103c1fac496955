"""`blocklearn export`: a trained network as files for timm and torchvision, with a model card."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RunFolder
from blocklearn.runs.strict_yaml import read_yaml
from blocklearn.weights.file_names import EXPORTED, EXPORTED_HEADS


def run_export(args: list[str]) -> None:
    """Write backbone, heads, context networks and model card of a checkpoint, or of a published
    file, into a folder; upload it where that is asked for."""
    options = _parser().parse_args(args)

    from blocklearn.interop.hub_upload import listed, require_access, upload
    from blocklearn.weights.hub import in_hub_cache, local_copy, require_name

    if options.push and not options.dry_run:
        require_access(options.push)
    elif options.push:
        require_name(options.push)
    checkpoint = _latest(local_copy(options.checkpoint))
    run = RunFolder.of_checkpoint(checkpoint)
    if options.to is None and in_hub_cache(checkpoint):
        raise UserError("export: name a folder to write into with --to, the Hub's cache is not one")
    folder: Path = options.to or run.export
    if options.to is None:
        run.require_no_links()
    RunFolder(folder).require_no_links()
    names = _write(checkpoint, run, folder, options)
    print(f"Written: {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    if options.push and options.dry_run:
        print(f"Would be uploaded to {options.push}:\n{listed(folder, names)}")
    elif options.push:
        print(f"Uploaded: {upload(folder, names, options.push, options.private)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blocklearn export", description=__doc__)
    parser.add_argument(
        "checkpoint",
        metavar="RUN_OR_CHECKPOINT",
        help="the folder of a run, a checkpoint, a published file of weights, or hf-hub:OWNER/NAME",
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
    parser.add_argument(
        "--license",
        type=_license,
        help="of the weights, for the model card, as the Hub calls it: mit, cc-by-4.0",
    )
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload the folder to the Hugging Face Hub"
    )
    parser.add_argument(
        "--private", action="store_true", help="a repository that --push makes is private"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="with --push: list what would be uploaded"
    )
    return parser


def _license(name: str) -> str:
    """As it may stand in the front matter of a card."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise argparse.ArgumentTypeError(f"{name!r} is no name of a license, such as mit")
    return name


def _latest(given: Path) -> Path:
    """The checkpoint of a run's folder; what is none as it is."""
    if not given.is_dir() or (given / EXPORTED).is_file():
        return given
    found = RunFolder(given).latest_checkpoint()
    others = sorted(given.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found and not others:
        raise UserError(f"export: {given} holds no checkpoint; name a run's folder, or a file")
    return found or others[-1]


def _write(
    checkpoint: Path, run: RunFolder, folder: Path, options: argparse.Namespace
) -> list[str]:
    """The files of the export. Returns their names."""
    import torch

    from blocklearn.interop.export import save_tensors
    from blocklearn.interop.input_facts import image_spec
    from blocklearn.interop.loading_code import TORCHVISION_FILE
    from blocklearn.interop.model_card import no_twin, write_model_card
    from blocklearn.interop.timm_folder import CONFIG, completed, fits_timm, write_timm_config
    from blocklearn.interop.trained_weights import read_trained, torchvision_twin
    from blocklearn.training.finite import require_finite
    from blocklearn.weights.atomic_write import replacing

    weights = read_trained(checkpoint, options.backbone)
    for_timm = completed(weights.structure, weights.backbone)
    twin = torchvision_twin(weights.structure)
    names = ["README.md"]
    if options.format == "torchvision" and twin is None:
        raise UserError(f"export: {no_twin(weights.structure)} Use --format timm")
    formats = [name for name in ("timm", "torchvision") if options.format in (name, "all")]
    if "torchvision" in formats and twin is None:
        formats.remove("torchvision")
        print(no_twin(weights.structure))
    if "timm" in formats:
        save_tensors(for_timm, weights.structure, folder / EXPORTED)
        names.append(EXPORTED)
        if fits_timm(weights.structure, for_timm.keys()):
            spec = image_spec(_recipe_of(run, weights.structure.backbone) or {})
            write_timm_config(weights, folder, spec if spec and spec.size > 1 else None)
            names.append(CONFIG)
    if "torchvision" in formats:
        require_finite(weights.backbone, f"{folder / TORCHVISION_FILE} is not written")
        with replacing(folder / TORCHVISION_FILE) as unfinished:
            torch.save(
                {name: tensor.clone() for name, tensor in weights.backbone.items()}, unfinished
            )
        names.append(TORCHVISION_FILE)
    if weights.heads:
        named = {
            f"{stage}/{name}": tensor
            for stage, head in weights.heads.items()
            for name, tensor in head.items()
        }
        save_tensors(named, weights.structure, folder / EXPORTED_HEADS)
        names.append(EXPORTED_HEADS)
    card = write_model_card(
        weights.structure,
        names=for_timm.keys(),
        heads={
            stage: {name: t.shape for name, t in head.items()}
            for stage, head in weights.heads.items()
        },
        formats=formats,
        recipe=_recipe_of(run, weights.structure.backbone),
        probes=_probes_of(run, checkpoint),
        license=options.license,
    )
    with replacing(folder / "README.md") as unfinished:
        unfinished.write_text(card)
    return names


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
