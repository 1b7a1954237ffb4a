"""A run to the Hub."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from gradsculpt.hub import parse
from gradsculpt.hub.sending import check_may_send, send
from gradsculpt.sharing.bundle import FILES, bundle


def push(
    run: str | Path,
    name: str,
    *,
    private: bool = False,
    images: Tensor | None = None,
    license: str | None = None,
    trust_code: Iterable[str] = (),
) -> str:
    """Share a run on the Hugging Face Hub, and return the address; others open it as hf:NAMESPACE/NAME.

    The repository is made if need be; one that is there gets another commit. What goes there, and nothing else, is what
    `gradsculpt.sharing.bundle` returns. It is sent as whoever is logged in by `hf auth login`, or by the token in
    HF_TOKEN.

    Args:
        run: The run directory.
        name: NAMESPACE/NAME, with @BRANCH after it for another branch than the main one.
        private: Whether nobody else may see it.
        images: Pixels in [0, 1] whose maps the card shows; None for none.
        license: Under which terms the network is shared, by a name that the Hub knows, such as mit.
        trust_code: As of `load`.

    Shape: images [N, 3, S, S].
    Raises: ArgumentError, RunError and ModelError as of `gradsculpt.sharing.bundle`; RunError if nobody is logged in,
        or the Hub takes nothing; ModelError if its library is not installed.
    """
    parse(name)
    check_may_send()
    made = bundle(run, name, images=images, license=license, trust_code=trust_code)
    return send(made.files, made.target, private=private, replaces=FILES, message="Share the run")
