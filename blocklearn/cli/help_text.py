"""For developers: writes the pages of `blocklearn VERB --help` and the list of all flags from the
parsers of today. `python -m blocklearn.cli.help_text`, after every change of a flag or of its
docstring; a test compares."""

from blocklearn.cli.flags import HELP, to_text
from blocklearn.cli.help_page import brief
from blocklearn.cli.parser_flags import flags_of
from blocklearn.cli.parser_of import parser_of
from blocklearn.cli.verbs import TRAINER_VERBS
from blocklearn.weights.atomic_write import replacing


def files() -> dict[str, str]:
    """By name, what belongs into the folder of the help."""
    flags = {verb: flags_of(parser_of(verb)) for verb in TRAINER_VERBS}
    pages = {f"{verb}.txt": brief(verb, own) for verb, own in flags.items()}
    return {"flags.json": to_text(flags), **pages}


def write() -> None:
    HELP.mkdir(exist_ok=True)
    for name, text in files().items():
        with replacing(HELP / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        print(f"Written: {HELP / name}")


if __name__ == "__main__":
    write()
