"""The tables that `recording` made: networks trained on handwritten digits, with their curves."""

from __future__ import annotations

import zipfile
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .recording import RECORDINGS
from .tables import Table
from .task import EvalError

NAMES = tuple(RECORDINGS)

_CARDS = {
    "digits-mlp": "A network with two hidden layers of equal width, trained for 20 epochs",
    "digits-cnn": "A network with two 3x3 convolutions of equal width, trained for 10 epochs",
}


@cache
def load_table(name: str) -> Table:
    """Return a recorded table; its values are the validation losses after the last epoch.

    Raises:
        EvalError: If the file is missing or damaged.
    """
    curves = load_curves(name)
    last = curves[..., -1].astype(np.float64)
    return Table(
        name=name,
        family="recorded",
        direction="minimize",
        axes=RECORDINGS[name].axes,
        values=np.where(np.isfinite(last), last, np.inf),
        card=f"{_CARDS[name]} on 600 handwritten digits of 8x8 pixels at a constant learning rate "
        "with torch's SGD or AdamW; the metric is the cross-entropy on 600 others.",
        source=f"luthier.evals.recording {name}; digits of scikit-learn",
        licence="Apache-2.0; digits: CC BY 4.0",
    )


def load_curves(name: str) -> NDArray[np.float32]:
    """Return the validation losses: one axis a hyperparameter, then seeds, then epochs.

    Raises:
        EvalError: If the file is missing or damaged.
    """
    path = RECORDINGS[name].file()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            curves: NDArray[np.float32] = archive["curves"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise EvalError(
            f"the recorded table {str(path)!r} is missing or damaged; install luthier again, or "
            f"record it: python -m luthier.evals.recording {name} FOLDER"
        ) from None
    return curves
