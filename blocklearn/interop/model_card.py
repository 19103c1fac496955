"""The model card beside exported weights."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from blocklearn.interop.input_facts import input_facts
from blocklearn.interop.loading_code import own_encoder, takes_sound, timm_code, torchvision_code
from blocklearn.interop.papers import papers_of
from blocklearn.interop.trained_weights import torchvision_twin
from blocklearn.weights.file_names import EXPORTED_HEADS
from blocklearn.weights.structure import NetworkStructure

IMAGE_TASK = "image-feature-extraction"
OBJECTIVE_ALONE = "(an objective on the frozen features before it)"
LICENSE = "<license>\n"  # its place in the front matter
FRONT_MATTER = """---
library_name: timm
pipeline_tag: {task}
<license>
tags:
- {task}
- timm
- blocklearn
{more}---
"""
CONTEXT = "context."
HEADINGS = {"lr": "learning rate", "top1": "top-1", "top5": "top-5"}
RECIPE = (  # the lines of the card, and where in the configuration they stand
    ("objective", "model.objective"),
    ("of single blocks", "model.per_block"),
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
    structure: NetworkStructure,
    names: Collection[str],
    heads: Mapping[str, Mapping[str, Sequence[int]]],
    formats: Sequence[str],
    recipe: Mapping[str, Any] | None = None,
    probes: Sequence[Mapping[str, Any]] = (),
    license: str | None = None,
) -> str:
    """What the weights are, how they were made, what they reach and how to load them, as Markdown.

    Args:
        structure: `BlockwiseModule.structure`.
        names: of the backbone's exported tensors.
        heads: shapes of the tensors of pooling heads and context networks, by stage and name.
        formats: of `timm` and `torchvision`: which files are there.
        recipe: the run's configuration; left out where it is not known.
        probes: the `results.json` of the run's probes, one per target.
        license: of the weights, as the Hub calls it, e.g. `mit`; null where nobody said.
    """
    papers = papers_of(recipe or {}, structure)
    sections = [*_opening(structure, papers), "## Load it\n"]
    if own_encoder(structure):
        sections.append(
            "This backbone is blocklearn's own: `pip install blocklearn`, whose import makes timm "
            "know it.\n"
        )
    if structure.patches:
        sections.append(_patches_told(structure.patches))
    if "timm" in formats:
        sections.append(f"With timm:\n\n```python\n{timm_code(structure, names)}```\n")
    if "torchvision" in formats:
        sections.append(f"With torchvision:\n\n```python\n{torchvision_code(structure)}```\n")
    elif torchvision_twin(structure) is None:
        sections.append(f"{no_twin(structure)}\n")
    if heads:
        sections.append(_heads_told(heads))
    if recipe:
        sections.append("## Recipe\n\n" + "".join(_recipe_lines(recipe)))
    sections += [_probe_table(results) for results in probes if results.get("rows")]
    if papers:
        lines = [f"- {title}, arXiv:{number}.\n" for number, title in papers.items()]
        sections.append("## References\n\n" + "".join(lines))
    told = f"license: {license}\n" if license else ""
    return "\n".join(sections).replace(LICENSE, told, 1)


def _opening(structure: NetworkStructure, papers: Mapping[str, str]) -> list[str]:
    """Front matter, title and what it is; of a file that does not say how it was trained, nothing
    is claimed."""
    name, blocks = structure.backbone, structure.blocks
    sound = takes_sound(structure)
    kind, task = ("A speech", "feature-extraction") if sound else ("An image", IMAGE_TASK)
    backbone = f"- Backbone: timm `{name}`{_arguments_told(structure)}\n"
    if not blocks:
        told = (
            f"{kind} backbone without classifier, read from a file of weights that does not say "
            "how it was trained.\n"
        )
        return [FRONT_MATTER.format(task=task, more=""), f"# {name}\n", told, backbone]
    if len(blocks) == 1:
        how, told = "end to end", "trained end to end by one objective."
    else:
        how = f"in {len(blocks)} blocks"
        told = (
            "trained block by block: each block has a local objective of its own, and no gradient "
            "crosses a block's border."
        )
    tags = "".join(f"- arxiv:{number}\n" for number in papers)
    named = " | ".join(" + ".join(block) or OBJECTIVE_ALONE for block in blocks)
    return [
        FRONT_MATTER.format(task=task, more=f"- blockwise-learning\n{tags}"),
        f"# {name}, trained {how}\n",
        f"{kind} backbone without classifier, {told}\n",
        f"{backbone}- Blocks: {named}\n",
    ]


def _patches_told(patches: Mapping[str, int]) -> str:
    size, stride, grid = (patches[key] for key in ("size", "stride", "grid"))
    whole = size + (grid - 1) * stride
    cut = f"unfold(2, {size}, {stride}).unfold(3, {size}, {stride})"
    return (
        f"It was trained on patches, not on whole images: normalised images of {whole} x {whole} "
        "pixels are cut into "
        f"{grid} x {grid} patches of {size} pixels, {stride} from one to the next, and each passes "
        "the backbone by itself. "
        "The feature of an image is the mean over positions and patches, here of maps `(B, C, H, "
        "W)`:\n\n```text\n"
        f"patches = images.{cut}.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)\n"
        "feature = model.forward_features(patches).mean(dim=(2, 3)).unflatten(0, (-1, "
        f"{grid * grid})).mean(dim=1)\n```\n"
    )


def _heads_told(heads: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """What lies in the file beside the backbone: pooling heads, context networks or both."""
    first: dict[bool, dict[str, Sequence[int]]] = {
        False: {},
        True: {},
    }  # whether of a context, stage, first shape
    for stage, shapes in heads.items():
        for name, shape in shapes.items():
            first[name.startswith(CONTEXT)].setdefault(stage, shape)
    pooling, context = (
        ", ".join(f"{stage} {tuple(shape)}" for stage, shape in first[c].items())
        for c in (False, True)
    )
    told = []
    if pooling:
        told.append(
            f"`{EXPORTED_HEADS}` holds pooling heads as `STAGE/TENSOR` (first weights: {pooling}). "
            "Where one is `conv` and `norm`, the published feature is the mean over all positions "
            "of `relu(batch_norm(conv(features)))`."
        )
    if context:
        told.append(
            f"`{EXPORTED_HEADS}` holds context networks as `STAGE/{CONTEXT}TENSOR` (first weights: "
            f"{context}), which read the stage's features over time or over the grid of patches."
        )
    return " ".join(told) + "\n"


def no_twin(structure: NetworkStructure) -> str:
    """Why there is no file for torchvision."""
    own = f"{structure.backbone}{_arguments_told(structure)}"
    return f"No file for torchvision: only its own ResNets are written, not {own}."


def _arguments_told(structure: NetworkStructure) -> str:
    arguments = [f"{key}={value!r}" for key, value in structure.backbone_kwargs.items()]
    small = ["a 3 x 3 stem without max-pool"] if structure.small_stem else []
    return f" with {', '.join(arguments + small)}" if arguments + small else ""


def _recipe_lines(recipe: Mapping[str, Any]) -> list[str]:
    expected = input_facts(recipe)
    lines = [f"- input: {expected}\n"] if expected else []
    for title, place in RECIPE:
        value: Any = recipe
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            lines.append(f"- {title}: {_told(value)}\n")
    return lines


def _told(value: Any) -> str:
    """A part of a configuration in one line:
    `JointEmbedding(pooling=ExpandPooling(width=2048))`."""
    if isinstance(value, list):
        return f"[{', '.join(map(_told, value))}]"
    if not isinstance(value, Mapping):
        return str(value)
    if "class_path" not in value:
        return ", ".join(f"{key}={_told(inner)}" for key, inner in value.items())
    return f"{value['class_path'].rsplit('.', 1)[-1]}({_told(value.get('init_args') or {})})"


def _probe_table(probes: Mapping[str, Any]) -> str:
    """Of one `results.json`: a line per feature, a column per value."""
    rows = probes["rows"]
    names = probes.get("values") or ["top1", "top5"]
    columns = [name for name in ("lr", "epochs") if all(name in row for row in rows)]
    heads = [*(HEADINGS.get(name, name) for name in (*columns, *names))]
    lines = []
    for row in rows:
        settings = [f"{row[name]:g}" for name in columns]
        values = [f"{row[name]:.2f}" if name in row else "" for name in names]
        cells = [f"{row['index']} {row['stage']}", row["feature"], *settings, *values]
        lines.append(f"| {' | '.join(cells)} |\n")
    target = f", {probes['target']}" if probes.get("target") else ""
    name = probes.get("title", "Probes").split(" (")[0] if "title" in probes else "Probes"
    unit = probes.get("unit", "accuracy in %")
    classes = f"({probes['num_classes']} classes)"
    return (
        f"## {name}{target}\n\nOn {probes['dataset']} {classes}{f', {unit}' if unit else ''}.\n\n"
        f"| stage | feature | {' | '.join(heads)} |\n{'|---' * (2 + len(heads))}|\n"
        + "".join(lines)
    )
