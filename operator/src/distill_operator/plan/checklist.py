"""The guide's production checklist, item by item, judged by what the job knows about itself."""

from collections.abc import Callable, Sequence
from typing import Final

from distill_api.status import ChecklistItem

from distill_operator.plan import checks, text
from distill_operator.plan.evidence import Evidence, Finding, person

type Judge = Callable[[Evidence], Finding | None]


def _asks(what: str) -> Judge:
    """Return the judge of an item that no job can prove."""
    return lambda _: person(what)


_ROLLOUT: Final = "Belongs to the rollout of the student"
_TEAM: Final = "Yours to set up"

ITEMS: Final[tuple[tuple[str, str, Judge], ...]] = (
    ("Data Quality", "Collected 100K+ training examples", checks.enough_records),
    (
        "Data Quality",
        "Verified label distribution matches production",
        checks.matches_production,
    ),
    ("Data Quality", "Removed outliers and ambiguous examples", checks.outliers_removed),
    ("Data Quality", "Split 80/10/10 train, validation, test", checks.guide_split),
    ("Data Quality", "Validated teacher consistency", checks.teacher_agreement),
    ("Training", "Ran hyperparameter sweep", checks.sweep),
    ("Training", "Logged learning curves", checks.learning_curves),
    ("Training", "Confirmed convergence on the validation set", checks.convergence),
    ("Training", "Saved checkpoints every 500 steps", checks.checkpoints),
    ("Training", "Tested inference latency", checks.latency),
    ("Evaluation", "Computed metrics on the test set", checks.metrics),
    ("Evaluation", "Verified 93% quality against the teacher", checks.quality),
    ("Evaluation", "Human evaluation of 100 examples", _asks("Judge 100 answers by hand.")),
    ("Evaluation", "Error analysis completed", checks.error_analysis),
    ("Evaluation", "Documented regressions", checks.regressions),
    ("Deployment", "Converted to ONNX or TensorRT", checks.formats),
    ("Deployment", "Optimized model for target hardware", _asks("Measure on your hardware.")),
    ("Deployment", "Benchmarked P50, P95 and P99", checks.latency),
    ("Deployment", "Set up model serving", _asks(f"{_ROLLOUT}.")),
    ("Deployment", "Containerized application", checks.containerised),
    ("A/B Testing", "Set up canary at 5%", _asks(f"{_ROLLOUT}.")),
    ("A/B Testing", "Monitoring dashboards ready", _asks(f"{_TEAM}.")),
    ("A/B Testing", "Alerts configured for regressions above 2%", _asks(f"{_TEAM}.")),
    ("A/B Testing", "Rollback procedure documented", _asks(f"{_TEAM}.")),
    ("A/B Testing", "Ran 24 hours or more at each share", _asks(f"{_ROLLOUT}.")),
    ("Monitoring", "Latency: P50, P95 and P99 tracked", _asks(f"{_TEAM}.")),
    ("Monitoring", "Quality: daily metric dashboard", _asks(f"{_TEAM}.")),
    ("Monitoring", "Error rate below 0.5%", _asks(f"{_ROLLOUT}.")),
    ("Monitoring", "User feedback collected", _asks(f"{_TEAM}.")),
    ("Monitoring", "Weekly review of metrics", _asks(f"{_TEAM}.")),
    ("Cost Tracking", "Calculated baseline cost", checks.baseline_cost),
    ("Cost Tracking", "Projected monthly savings", checks.savings),
    ("Cost Tracking", "Break-even timeline confirmed", checks.break_even),
    ("Cost Tracking", "ROI tracker set up", _asks(f"{_TEAM}; status.cost has the numbers.")),
    ("Cost Tracking", "Monthly cost report", _asks(f"{_TEAM}.")),
    ("Documentation", "Training recipe documented", checks.recipe_documented),
    ("Documentation", "Hyperparameters recorded", checks.hyperparameters),
    ("Documentation", "Reproducibility verified", checks.reproducible),
    ("Documentation", "Inference pipeline documented", checks.inference_documented),
    ("Documentation", "Runbooks for support team", _asks(f"{_TEAM}.")),
    ("Go/No-Go", "Quality of 93% of the teacher or more", checks.quality),
    ("Go/No-Go", "P95 latency below 150 ms", checks.p95),
    ("Go/No-Go", "Error rate below 0.5% in production", _asks(f"{_ROLLOUT}.")),
    ("Go/No-Go", "Cost savings above 50%", checks.half_saved),
)
"""Section, item and judge, in the guide's order and words."""


def updated(before: Sequence[ChecklistItem], known: Evidence) -> list[ChecklistItem]:
    """Return the checklist with what is known now.

    A judge that lacks its facts leaves the item as it was: reports vanish with their pods, what
    they have proven stays.
    """
    old = {(item.section, item.item): item for item in before}
    return [
        judged(section, item, judge(known), old.get((section, item)))
        for section, item, judge in ITEMS
    ]


def judged(
    section: str, item: str, found: Finding | None, before: ChecklistItem | None
) -> ChecklistItem:
    """Return an item after its judge has looked; one that knows nothing leaves it as it was."""
    if found is None:
        return before or ChecklistItem(section=section, item=item, state="Pending")
    evidence = text.cut(found.evidence)
    return ChecklistItem(section=section, item=item, state=found.state, evidence=evidence)
