"""An exported folder for the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path

from blocklearn.errors import UserError
from blocklearn.weights.hub import reason_of, require_name


def require_access(repository: str) -> None:
    """To be asked before anything is written.

    Raises:
        UserError: for a name that the Hub does not take, without a token, and where
            `HF_HUB_OFFLINE` is set.
    """
    from huggingface_hub import constants, get_token

    require_name(repository)
    if constants.HF_HUB_OFFLINE:
        raise UserError("export: --push needs a connection to the Hub, and HF_HUB_OFFLINE is set")
    if not get_token():
        raise UserError(
            "export: --push needs a token with write access: set HF_TOKEN, or run hf auth login "
            "once; --dry_run needs none"
        )


def listed(folder: Path, names: Sequence[str]) -> str:
    """The files and their sizes, one a line, and their sum."""
    sizes = {name: (folder / name).stat().st_size for name in sorted(names)}
    lines = [f"  {size:>13,} bytes  {name}" for name, size in sizes.items()]
    return "\n".join([*lines, f"  {sum(sizes.values()):>13,} bytes in all"])


def upload(folder: Path, names: Sequence[str], repository: str, private: bool) -> str:
    """Make the repository where there is none, and upload these files in one commit. Returns its
    address.

    Args:
        folder: of the files.
        names: which of them.
        repository: OWNER/NAME.
        private: whether a new one is private; one that is there stays as it is.

    Raises:
        UserError: where the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="blocklearn")
    try:
        made = api.create_repo(repository, private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(names),
            commit_message="Weights exported by blocklearn",
        )
    except Exception as error:  # what the connection raises is its library's, and changes with it
        raise reason_of(error, repository) from error
    return str(made)
