"""The packages from the ground up: each imports only from those below it.

`python tests/floors.py` writes the table of docs/architecture.md anew."""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
BEGIN, END = "<!-- written by tests/floors.py -->\n", "<!-- end -->"

FLOORS: list[dict[str, str]] = [
    {
        "errors": "`UserError`",
        "seeding": "keyed randomness",
        "batch": "what a data module hands to a model",
        "machine": "number of cores",
        "old_paths": "modules that have moved",
    },
    {"__init__": "the public names, loaded on first use"},
    {
        "optim": "`LARS`, learning-rate curves",
        "masks": "which tokens a network does not get to see",
    },
    {
        "distributed": "several processes: collectives with gradients, synchronized norms, the two "
        "strategies, channels, launcher, which blocks go to which rank"
    },
    {"kernels": "numerics: fast paths that hold less, each with a slow reference in the tests"},
    {"backbones": "layouts, stages, families of timm, how a backbone is made and cut"},
    {"weights": "checkpoints, other programs' files, the network's structure, atomic writing"},
    {
        "training": "one step: contract, schedule, learner, execution, block metrics; the class "
        "that talks to the Trainer, and where a run stands"
    },
    {
        "criteria": "losses on the embeddings of a batch's views",
        "heads": "poolings, projectors, context networks, teacher",
    },
    {"objectives": "the contract of an objective, and the objectives"},
    {
        "blocks": "`Block`, `BlockwiseModule`, settings per block, noise, recomputation, features, "
        "what a block costs"
    },
    {"metrics": "what is watched of every block"},
    {"data": "data modules, loader, stored views; `images`, `sound`, `video`"},
    {"pictures": "drawing plain figures: curves, heat maps, scatters, sheets of images"},
    {"interop": "export, model card, the Trainer's checkpoints, features in files"},
    {"evaluation": "probes, fine-tuning, nearest neighbors, the proof of isolation"},
    {"reporting": "loggers, results, tables, plots"},
    {"runs": "run folder, strict YAML, received configurations, refusals, resuming"},
    {
        "report": "one page on one run or several",
        "ablation": "many runs from one sweep file: which, running them, what they found",
    },
    {"callbacks": "what happens around training"},
    {"cli": "the command line"},
    {"__main__": "its entry"},
]


def table() -> str:
    """As Markdown."""
    lines = ["| floor | package | holds |", "|---|---|---|"]
    for floor, packages in enumerate(FLOORS):
        lines += [f"| {floor} | `{name}` | {holds} |" for name, holds in packages.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1])
