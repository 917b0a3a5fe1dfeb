"""The model card: what a challenger is for, what it learned from, how it was judged. For accepted and rejected alike."""

from perennial.adapters.templates import render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Run
from perennial.steps.report_evidence import Evidence
from perennial.steps.report_view import build_decision_values

MODEL_CARD_FILE = "model_card.md"


def build_model_card(spec: ModelSpec, run: Run, *, evidence: Evidence, settings: Settings) -> str:
    """Model card in Markdown."""
    return render("model_card.md", build_decision_values(spec, run, evidence, settings=settings))
