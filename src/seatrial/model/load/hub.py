"""Downloads from the Hugging Face hub: weights as safetensors and what goes with them."""

import contextlib
import errno
from pathlib import Path

from huggingface_hub import HfApi, errors, snapshot_download

from seatrial.errors import StoreFault, UnknownName, Unreachable, sentence
from seatrial.model.load.small_models import MODELS

HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "vocab*", "merges.txt"]
"""What is fetched from the hub: never pickled weights, never code."""

HUB_SECONDS = 4.0
"""How long the hub may take to say that it is there."""


def snapshot(
    hub: str, revision: str | None = None, into: Path | None = None
) -> tuple[Path, str]:
    """A folder with a model of the hub, and its commit.

    Downloads into ``into``, else into the hub client's own cache; what that holds already
    is good enough where the hub cannot be reached.
    """
    try:
        # One short question first: a download from a silent hub tries again for minutes.
        info = HfApi().model_info(hub, revision=revision, timeout=HUB_SECONDS)
        commit = info.sha or "unknown"
        folder = snapshot_download(
            hub, revision=info.sha, local_dir=into, allow_patterns=HUB_FILES
        )
        return Path(folder), commit
    except errors.GatedRepoError as error:
        raise Unreachable(
            f"{hub} is gated: accept its terms at huggingface.co/{hub} and log in with 'hf "
            f"auth login'."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownName(f"{hub} has no revision {revision!r} on the hub.") from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownName(
            f"{hub!r} is neither a local folder nor a model of the hub that you may see; "
            f"registered models: {', '.join(sorted(MODELS))}."
        ) from error
    except Exception as error:  # The client changes its HTTP library, and so its errors.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFault(f"no space to download {hub}: {sentence(error)}.") from error
        if into is None:
            with contextlib.suppress(Exception):
                folder = snapshot_download(
                    hub, revision=revision, local_files_only=True, allow_patterns=HUB_FILES
                )
                return Path(folder), Path(folder).name
        raise Unreachable(
            f"the hub did not give {hub}: {sentence(error)}. Go online (without "
            f"HF_HUB_OFFLINE), or name a local folder, a .gguf file or a registered model: "
            f"{', '.join(sorted(MODELS))}."
        ) from error
