"""The model card beside exported weights."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from blocklearn.blocks.checkpoint import EXPORTED_HEADS
from blocklearn.interop.rebuild import timm_code, torchvision_code
from blocklearn.interop.trained import torchvision_twin

FRONT_MATTER = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags:
- image-feature-extraction
- timm
{more}---
"""
BLOCKWISE_TAGS = "- blockwise-learning\n- arxiv:2302.01647\n"
RECIPE = (  # the lines of the card, and where in the configuration they stand
    ("objective", "model.objective"),
    ("noise", "model.noise"),
    ("optimizer", "model.optimizer"),
    ("learning-rate schedule", "model.lr_schedule"),
    ("block schedule", "model.schedule"),
    ("epochs", "trainer.max_epochs"),
    ("precision", "trainer.precision"),
    ("data", "data.class_path"),
    ("batch size", "data.init_args.batch_size"),
    ("image size", "data.init_args.image_size"),
    ("views", "data.init_args.recipe"),
    ("seed", "seed_everything"),
)


def write_model_card(
    structure: Mapping[str, Any],
    names: Collection[str],
    heads: Mapping[str, Sequence[int]],
    formats: Sequence[str],
    recipe: Mapping[str, Any] | None = None,
    probes: Mapping[str, Any] | None = None,
) -> str:
    """What the weights are, how they were made, what they reach and how to load them, as Markdown.

    Args:
        structure: `BlockwiseModule.structure`.
        names: of the backbone's exported tensors.
        heads: shape of the first weight of each pooling head, by stage.
        formats: of `timm` and `torchvision`: which files are there.
        recipe: the run's configuration; left out where it is not known.
        probes: the run's `probe/results.json`; left out where there is none.
    """
    sections = [*_opening(structure), "## Load it\n"]
    if "timm" in formats:
        sections.append(f"With timm:\n\n```python\n{timm_code(structure, names)}```\n")
    if "torchvision" in formats:
        sections.append(f"With torchvision:\n\n```python\n{torchvision_code(structure)}```\n")
    elif torchvision_twin(structure) is None:
        sections.append(f"{no_twin(structure)}\n")
    if heads:
        shapes = ", ".join(f"{stage} {tuple(shape)}" for stage, shape in heads.items())
        sections.append(
            f"`{EXPORTED_HEADS}` holds the pooling head of every block as `STAGE/TENSOR` (first weights: {shapes}). Where "
            "it is `conv` and `norm`, the published feature is the mean over all positions of "
            "`relu(batch_norm(conv(features)))`.\n"
        )
    if recipe:
        sections.append("## Recipe\n\n" + "".join(_recipe_lines(recipe)))
    if probes and probes.get("rows"):
        sections.append(_probe_table(probes))
    if structure["blocks"]:
        sections.append("## Reference\n\nBlockwise Self-Supervised Learning at Scale, arXiv:2302.01647.\n")
    return "\n".join(sections)


def _opening(structure: Mapping[str, Any]) -> list[str]:
    """Front matter, title and what it is; of a file that does not say how it was trained, nothing is claimed."""
    name, blocks = structure["backbone"], structure["blocks"]
    backbone = f"- Backbone: timm `{name}`{_arguments_told(structure)}\n"
    if not blocks:
        told = (
            "An image backbone without classifier, read from a file of weights that does not say how it was trained.\n"
        )
        return [FRONT_MATTER.format(more=""), f"# {name}\n", told, backbone]
    if len(blocks) == 1:
        how, told = "end to end", "trained end to end by one objective."
    else:
        how = f"in {len(blocks)} blocks"
        told = (
            "trained block by block: each block has a local objective of its own, and no gradient crosses a block's border "
            "(arXiv:2302.01647)."
        )
    return [
        FRONT_MATTER.format(more=BLOCKWISE_TAGS),
        f"# {name}, trained {how}\n",
        f"An image backbone without classifier, {told}\n",
        f"{backbone}- Blocks: {' | '.join(' + '.join(block) for block in blocks)}\n",
    ]


def no_twin(structure: Mapping[str, Any]) -> str:
    """Why there is no file for torchvision."""
    own = f"{structure['backbone']}{_arguments_told(structure)}"
    return f"No file for torchvision: only its own ResNets are written, not {own}."


def _arguments_told(structure: Mapping[str, Any]) -> str:
    arguments = [f"{key}={value!r}" for key, value in structure["backbone_kwargs"].items()]
    small = ["a 3 x 3 stem without max-pool"] if structure.get("small_stem") else []
    return f" with {', '.join(arguments + small)}" if arguments + small else ""


def _recipe_lines(recipe: Mapping[str, Any]) -> list[str]:
    lines = []
    for title, place in RECIPE:
        value: Any = recipe
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            lines.append(f"- {title}: {_told(value)}\n")
    return lines


def _told(value: Any) -> str:
    """A part of a configuration in one line: `JointEmbedding(pooling=ExpandPooling(width=2048))`."""
    if not isinstance(value, Mapping):
        return str(value)
    if "class_path" not in value:
        return ", ".join(f"{key}={_told(inner)}" for key, inner in value.items())
    return f"{value['class_path'].rsplit('.', 1)[-1]}({_told(value.get('init_args') or {})})"


def _probe_table(probes: Mapping[str, Any]) -> str:
    lines = [
        f"| {row['index']} {row['stage']} | {row['feature']} | {row['lr']:g} | {row['epochs']} | {row['top1']:.2f} | "
        f"{row['top5']:.2f} |\n"
        for row in probes["rows"]
    ]
    return (
        f"## Probes\n\nOn {probes['dataset']} ({probes['num_classes']} classes), accuracy in %.\n\n"
        "| stage | feature | learning rate | epochs | top-1 | top-5 |\n|---|---|---|---|---|---|\n" + "".join(lines)
    )
