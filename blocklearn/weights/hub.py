"""Weights on the Hugging Face Hub: safetensors alone are fetched, and nothing is executed."""

from pathlib import Path

from blocklearn.errors import UserError, in_one_line
from blocklearn.weights.file_names import EXPORTED, EXPORTED_HEADS

HUB, FOLDER = "hf-hub:", "local-dir:"  # as timm writes them


def local_copy(name: str | Path) -> Path:
    """Where a checkpoint lies on this machine.

    Args:
        name: a path; `local-dir:FOLDER`; or `hf-hub:OWNER/NAME`, `hf-hub:OWNER/NAME@REVISION`, of
            which `model.safetensors` and `heads.safetensors` are fetched into the Hub's own cache,
            where they are not there yet.

    Raises:
        UserError: for a repository that cannot be had, or holds no safetensors.
    """
    text = str(name)
    if text.startswith(HUB):
        return _fetched(*_split(text.removeprefix(HUB)))
    return Path(text.removeprefix(FOLDER))


def in_hub_cache(path: Path) -> bool:
    """Whether a path lies in the Hub's cache, where nothing of ours is to be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return path.absolute().is_relative_to(Path(HF_HUB_CACHE).absolute())


def require_name(repository: str) -> str:
    """
    Raises:
        UserError: for what is not OWNER/NAME.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
        whole = repository.count("/") == 1
    except HFValidationError:
        whole = False
    if not whole:
        raise UserError(
            f"hub: {in_one_line(repository)} is no name on the Hub: write OWNER/NAME, of letters, "
            "digits, -, _ and ."
        )
    return repository


def reason_of(error: Exception, repository: str) -> UserError:
    """The line about what went wrong at the Hub, and what to do."""
    from huggingface_hub import errors

    said = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, errors.GatedRepoError):
        told = "asks for its conditions to be accepted first, on its page on the Hub"
    elif isinstance(error, errors.RepositoryNotFoundError):
        told = (
            "is not there, or private: check the name, or set HF_TOKEN to a token that may see it"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        told = "has no such revision: name a branch, tag or commit of it"
    elif isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        told = (
            "cannot be had: there is no connection to the Hub (or HF_HUB_OFFLINE is set), and it "
            "is not in the cache; fetch it once with a connection"
        )
    elif isinstance(error, errors.HfHubHTTPError):
        code = getattr(error.response, "status_code", "an error")
        told = f"was refused by the Hub ({code}): {in_one_line(said[-1])}"
    else:
        told = f"cannot be had: {in_one_line(said[0])}; check the connection to the Hub"
    return UserError(f"hub: {repository} {told}")


def _split(name: str) -> tuple[str, str | None]:
    repository, separator, revision = name.partition("@")
    return require_name(repository), revision if separator else None


def _fetched(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [EXPORTED, EXPORTED_HEADS]
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except Exception as error:  # what the connection raises is its library's, and changes with it
        raise reason_of(error, repository) from error
    if not (folder / EXPORTED).is_file():
        raise UserError(
            f"hub: {repository} holds no {EXPORTED}, and nothing but safetensors is read: other "
            "files could run anything"
        )
    return folder
