"""Whose method a recipe follows, for the model card: told by the recipe, never guessed."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from blocklearn.weights.structure import NetworkStructure

METHODS = {  # by the class that a recipe names
    "BarlowTwins": (
        "2103.03230",
        "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
    ),
    "SimCLR": (
        "2002.05709",
        "A Simple Framework for Contrastive Learning of Visual Representations",
    ),
    "VICReg": (
        "2105.04906",
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    ),
    "BYOL": ("2006.07733", "Bootstrap your own latent: A new approach to self-supervised learning"),
    "SimSiam": ("2011.10566", "Exploring Simple Siamese Representation Learning"),
    "MoCo": ("2003.04297", "Improved Baselines with Momentum Contrastive Learning"),
    "DINO": ("2104.14294", "Emerging Properties in Self-Supervised Vision Transformers"),
    "SwAV": (
        "2006.09882",
        "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
    ),
    "SupCon": ("2004.11362", "Supervised Contrastive Learning"),
    "CLAPP": (
        "2010.08262",
        "Local plasticity rules can learn deep representations using self-supervised contrastive "
        "predictions",
    ),
    "InfoPro": (
        "2101.10832",
        "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training",
    ),
    "PredSim": ("1901.06656", "Training Neural Networks with Local Error Signals"),
    "MLPSRPooling": ("1901.08164", "Decoupled Greedy Learning of CNNs"),
    "AugLocal": (
        "2402.17318",
        "Scaling Supervised Local Learning with Augmented Auxiliary Networks",
    ),
    "MomentumAuxiliary": (
        "2407.05623",
        "Momentum Auxiliary Network for Supervised Local Learning",
    ),
}
MAE = ("2111.06377", "Masked Autoencoders Are Scalable Vision Learners")
MASKED_IMAGES = (
    "2311.17218",
    "BIM: Block-Wise Self-Supervised Learning with Masked Image Modeling",
)
MASKED_VIDEO = (
    "2601.09040",
    "Depth-Wise Representation Development Under Blockwise Self-Supervised Learning for Video "
    "Vision Transformers",
)
INFONCE = {"PatchInfoNCE", "TemporalInfoNCE"}
CPC = ("1807.03748", "Representation Learning with Contrastive Predictive Coding")
GREEDY = (
    "1905.11786",
    "Putting An End to End-to-End: Gradient-Isolated Learning of Representations",
)
BLOCKWISE = ("2302.01647", "Blockwise Self-Supervised Learning at Scale")
OVERLAPPING = (
    "2008.01342",
    "LoCo: Local Contrastive Representation Learning",
)


def papers_of(recipe: Mapping[str, Any], structure: NetworkStructure) -> dict[str, str]:
    """Titles by arXiv number: of the objectives that the recipe names, and of training them block
    by block. Empty where the recipe is not known, or names none of them.

    Args:
        recipe: the run's configuration.
        structure: of the network.
    """
    model = recipe.get("model") or {}
    named = set(_classes([model.get("objective"), model.get("per_block")]))
    blocks = [block for block in structure.blocks if block]
    local = len(structure.blocks) > 1
    found = [METHODS[name] for name in METHODS if name in named]
    if named & INFONCE:
        found.append(GREEDY if local else CPC)
    if "MaskedReconstruction" in named:
        blockwise = MASKED_VIDEO if structure.backbone.startswith("video_") else MASKED_IMAGES
        found += [blockwise, MAE] if local else [MAE]
    if local and "BarlowTwins" in named:
        found.insert(0, BLOCKWISE)
    if found and any(set(one) & set(other) for one, other in pairwise(blocks)):
        found.append(OVERLAPPING)
    return dict(found)


def _classes(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"].rpartition(".")[2]
        for inner in value.values():
            yield from _classes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _classes(inner)
