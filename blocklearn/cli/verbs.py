"""What `blocklearn` can be told to do, and its help. Nothing heavy is imported for it."""

import argparse
from difflib import get_close_matches

from blocklearn import __version__

TRAINER_VERBS = {  # those of `blocklearn.cli.app`, on a configuration
    "fit": "Train every block with its own objective.",
    "validate": "Local loss of every block on held-out samples.",
    "test": (
        "Fit and test a linear probe on every stage of a trained network, or fine-tune it. Without "
        "--model.checkpoint, of the network as it is initialised: what training has to beat."
    ),
    "predict": "Write the features of every stage to features.safetensors.",
    "isolation": "Prove it: the matrix of which block's loss reaches which block's parameters.",
    "plan": (
        "What every block costs, and which blocks should go to which of several devices. Nothing "
        "is trained."
    ),
    "views": "A sheet of the views that the network really sees, as the recipe makes them.",
}
LEAVE_NOTHING = ("isolation", "plan", "views")  # have no folder
VERBS = {
    **TRAINER_VERBS,
    "ablate": "All runs of a sweep file, trained and tested, and one table: mean ± sd over seeds.",
    "demo": "Blockwise against end-to-end and an untrained twin, on digits, in 1 to 2 minutes.",
    "export": "Write a trained network as files for timm and torchvision, with a model card.",
    "pack": "A folder of images as a few large files, for slow disks and clouds.",
    "report": "One page, in one file, on one run or several: settings, curves, tables, pictures.",
    "compare": (
        "The probes of several runs side by side: a table, a picture, and the figures as CSV."
    ),
    "completion": "A script for the tab key in bash and zsh.",
}
OTHER_VERBS = {  # where the function of each verb lies that is not the Trainer's
    "demo": "blocklearn.cli.demo:run_demo",
    "export": "blocklearn.cli.export:run_export",
    "pack": "blocklearn.cli.pack:run_pack",
    "report": "blocklearn.cli.report:run_report",
    "compare": "blocklearn.cli.compare:run_compare",
    "ablate": "blocklearn.cli.ablate:run_ablate",
    "completion": "blocklearn.cli.completion:run_completion",
}
DESCRIPTION = (
    "Local, gradient-isolated learning: train a network block by block, and probe every block."
)
EXAMPLES = """examples:
  blocklearn demo
  blocklearn fit --config bt_digits.yaml --trainer.max_epochs 18
  blocklearn test --model.checkpoint runs/NAME/checkpoints/last.ckpt
  blocklearn ablate digits_ablations --seeds 2 --parallel 2
  blocklearn export runs/NAME/checkpoints/last.ckpt
  blocklearn pack IMAGES PACKED
  blocklearn compare LABEL=RUN LABEL=RUN
  blocklearn report RUN RUN

A verb tells its own arguments: blocklearn VERB --help, or blocklearn help VERB.
The first seven take --config NAME_OR_PATH, several stack (blocklearn help
recipes lists them), and print the whole configuration with --print_config.
"""


def overview() -> str:
    """The text of `blocklearn --help`."""
    parser = argparse.ArgumentParser(
        prog="blocklearn",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=__version__, help="print the version and exit"
    )
    listed = parser.add_subparsers(title="verbs", metavar="VERB")
    for name, text in VERBS.items():
        listed.add_parser(name, help=text)
    return parser.format_help()


def no_verb(args: list[str]) -> str:
    """What to do about arguments that do not begin with a verb."""
    word, listed = args[0], ", ".join(VERBS)
    if word.startswith("-"):
        verb = next((arg for arg in args if arg in VERBS), None)
        advice = (
            f"blocklearn {verb} {word}" if verb else f"blocklearn VERB {word}, VERB one of {listed}"
        )
        return f"{word} comes before the verb; write {advice}"
    near = get_close_matches(word, VERBS, n=1)
    return (
        f"there is no verb {word!r}; "
        f"{f'did you mean {near[0]}?' if near else f'there are {listed}'}"
    )
