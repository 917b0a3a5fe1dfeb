"""The project that is tested."""

from pathlib import Path

PROJECT = Path(__file__).parents[3]
