"""A data set in a few numbers, at three levels of detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

_STRONG = 0.5
_SKEWED = 1.0
_MOST_CLASSES = 20


@dataclass(frozen=True)
class DataCard:
    """What is told of a data set (arXiv:2402.03921, section 4: partial and full context)."""

    rows: int
    features: int
    categorical: int = 0
    """How many of the features are categories."""
    class_shares: tuple[float, ...] = ()
    """Share of each class, the largest first; empty for a regression."""
    missing: float = 0.0
    """Share of the cells that are empty."""
    skewed: int = 0
    """Numeric features whose skewness is beyond 1."""
    related: int = 0
    """Numeric features whose rank correlation with the target is beyond 0.5."""
    correlated: int = 0
    """Pairs of numeric features whose rank correlation is beyond 0.5."""

    def describe(self, level: Literal["partial", "full"]) -> str:
        """Return the card as text of one line, or two."""
        classes = ", ".join(f"{share:.3g}" for share in self.class_shares)
        kind = f"classes of shares {classes}" if classes else "a numeric target"
        text = (
            f"data: {self.rows} rows, {self.features} features ({self.categorical} categorical), "
            f"{kind}"
        )
        if level == "partial":
            return text
        return (
            f"{text}\ndata in full: {self.missing:.2g} of the cells missing, {self.skewed} numeric "
            f"features skewed, {self.related} related to the target, {self.correlated} pairs "
            "correlated"
        )


def data_card(features: pd.DataFrame, target: pd.Series) -> DataCard:
    """Describe a data set.

    A target of text or categories, or of few whole numbers, is taken for classes.

    Args:
        features: One row an example.
        target: What is predicted, in the same order.
    """
    import pandas as pd

    numeric = features.select_dtypes("number")
    is_number = pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target)
    whole = is_number and bool((target.dropna() % 1 == 0).all())
    classes = not is_number or (whole and target.nunique() <= _MOST_CLASSES)
    ranks = numeric.rank()
    pairs = (ranks.corr().abs() > _STRONG).to_numpy().sum() - numeric.shape[1]
    related = 0
    if is_number:
        related = int((ranks.corrwith(target.rank()).abs() > _STRONG).sum())
    shares = target.value_counts(normalize=True).head(_MOST_CLASSES) if classes else ()
    return DataCard(
        rows=len(features),
        features=features.shape[1],
        categorical=features.shape[1] - numeric.shape[1],
        class_shares=tuple(float(share) for share in shares),
        missing=float(features.isna().to_numpy().mean()),
        skewed=int((numeric.skew().abs() > _SKEWED).sum()),
        related=related,
        correlated=max(int(pairs) // 2, 0),
    )
