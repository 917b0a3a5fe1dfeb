"""Reading a fitted pipeline from the file that MLflow wrote, without MLflow. Every bento carries a copy of this module."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def load_pipeline(file: Path, *, serialization: str, trusted_types: Sequence[str]) -> "Pipeline":
    """Load a pipeline.

    Parameters
    ----------
    trusted_types
        Types that skops may construct besides those it knows; given when the model was saved.
    """
    if serialization == "skops":
        import skops.io

        return skops.io.load(file, trusted=list(trusted_types))
    import cloudpickle

    # Of our own registry; MLflow would unpickle the very same file.
    with file.open("rb") as content:
        return cloudpickle.load(content)
