"""The judges of the production checklist: each looks at one item, and knows it or does not."""

from distill_api.names import Stage
from distill_api.status import BenchmarkStatus

from distill_operator.plan import columns, text, worth
from distill_operator.plan.evidence import Evidence, Finding, failed, held, person, proven

RECORDS = 100_000
CHECKPOINT_STEPS = 500
RETENTION = 0.93
P95_MILLISECONDS = 150
"""The guide's thresholds."""


def enough_records(known: Evidence) -> Finding | None:
    """Judge the number of training records."""
    count = known.number(Stage.PREPARE, "train")
    if count is None:
        return None
    return held(count >= RECORDS, f"{count:.0f} training records; the guide asks for {RECORDS}.")


def matches_production(known: Evidence) -> Finding | None:
    """Judge whether the training data is like a sample of production's."""
    if known.spec.data.production_sample is None:
        return person(
            "Compare the data card with your production traffic, or set data.productionSample in"
            " a new job."
        )
    verdict = known.facts.get(Stage.PREPARE, {}).get("productionVerdict")
    auc = known.number(Stage.PREPARE, "productionAuc")
    if verdict is None or auc is None:
        return None
    unseen = known.number(Stage.PREPARE, "productionUnseen") or 0
    told = (
        f"A classifier tells training from production with an area of {auc:.2f} (0.50 is a guess);"
        f" {unseen * 100:.1f}% of production's queries are not trained on; see the data card."
    )
    if verdict == "undecided":
        return person(f"The sample is too small to tell. {told}")
    return held(verdict == "matches", told)


def outliers_removed(known: Evidence) -> Finding | None:
    """Judge whether outliers and ambiguous records were looked for."""
    outliers = known.number(Stage.PREPARE, "outliers")
    unsure = known.number(Stage.PREPARE, "unsure")
    if outliers is None and unsure is None:
        return None
    wanted = known.spec.data.filter
    if wanted.outlier_deviations is None and wanted.min_teacher_confidence is None:
        return person(
            "Neither data.filter.outlierDeviations nor minTeacherConfidence is set: look through"
            " the data, or set them in a new job."
        )
    return proven(f"{outliers or 0:.0f} outliers and {unsure or 0:.0f} unsure records removed.")


def guide_split(known: Evidence) -> Finding | None:
    """Judge the shares of train, validation and test."""
    counts = [known.number(Stage.PREPARE, part) for part in ("train", "validation", "test")]
    if None in counts:
        return None
    splits = known.spec.data.splits
    shares = (splits.train, splits.validation, splits.test)
    written = "/".join(str(share) for share in shares)
    numbers = ", ".join(f"{count:.0f}" for count in counts)
    return held(shares == (80, 10, 10), f"Split {written} by group: {numbers} records.")


def teacher_agreement(known: Evidence) -> Finding | None:
    """Judge how often the teacher itself finds the known answer."""
    share = known.number(Stage.PREPARE, "teacherAgreement")
    if share is None:
        return None
    return person(
        f"The teacher ranks the known document first for {share * 100:.1f}% of the queries: decide"
        " whether that is good enough to learn from."
    )


def sweep(known: Evidence) -> Finding | None:
    """Judge whether several students were tried."""
    if known.spec.sweep is None:
        return person("One student was trained: compare jobs with other settings if in doubt.")
    trials = known.number(Stage.TRAIN, "trials")
    if trials is None:
        return None
    varied = ", ".join(parameter.path for parameter in known.spec.sweep.parameters)
    told = f"{trials:.0f} students were tried with other {varied}; the best went on."
    return held(trials > 1, told)


def learning_curves(known: Evidence) -> Finding | None:
    """Judge whether the course of training was kept."""
    points = known.number(Stage.TRAIN, "curvePoints")
    if points is None:
        return None
    return held(points > 0, f"{points:.0f} points, drawn in the published report.")


def convergence(known: Evidence) -> Finding | None:
    """Judge whether the validation score had stopped rising."""
    converged = known.said(Stage.TRAIN, "converged")
    if converged is None:
        return None
    best, steps = known.number(Stage.TRAIN, "bestStep"), known.number(Stage.TRAIN, "steps")
    where = f" The best of {steps or 0:.0f} steps was step {best:.0f}." if best is not None else ""
    if converged:
        return proven(f"The validation score no longer rose.{where}")
    return failed(f"The validation score still rose at the end: train longer.{where}")


def checkpoints(known: Evidence) -> Finding | None:
    """Judge how often training was saved."""
    written = known.number(Stage.TRAIN, "checkpoints")
    if written is None:
        return None
    every = known.spec.training.checkpoint_steps
    return held(every <= CHECKPOINT_STEPS, f"{written:.0f} checkpoints, one every {every} steps.")


def latency(known: Evidence) -> Finding | None:
    """Judge whether single requests were timed."""
    if known.evaluation is None:
        return None
    fast, slow = known.evaluation.student, known.evaluation.teacher
    return proven(
        f"Student P50/P95/P99 {fast.p50_milliseconds}/{fast.p95_milliseconds}/"
        f"{fast.p99_milliseconds} ms, teacher {slow.p50_milliseconds}/{slow.p95_milliseconds}/"
        f"{slow.p99_milliseconds} ms, on the same hardware in the same run."
    )


def metrics(known: Evidence) -> Finding | None:
    """Judge whether the test split was scored."""
    if known.evaluation is None:
        return None
    measures = ", ".join(score.measure for score in known.evaluation.scores)
    found = known.evaluation
    return proven(f"{measures} on {found.queries} test queries and {found.documents} documents.")


def quality(known: Evidence) -> Finding | None:
    """Judge the student's quality against the guide's 93 %."""
    score = columns.first_score(known.evaluation, known.spec)
    if score is None:
        return None
    kept, low, high = (
        text.percent(share)
        for share in (score.retention, score.retention_low, score.retention_high)
    )
    words = f"{kept} of the teacher's {score.measure}, interval {low} to {high}."
    return held(float(score.retention) >= RETENTION, words)


def error_analysis(known: Evidence) -> Finding | None:
    """Judge whether there is something to analyse errors by."""
    examples = known.number(Stage.EVALUATE, "errorExamples")
    if examples is None:
        return None
    return person(
        f"The published report lists {examples:.0f} queries that became worse: read them."
    )


def regressions(known: Evidence) -> Finding | None:
    """Judge whether what became worse is written down."""
    count = known.number(Stage.EVALUATE, "regressions")
    if count is None:
        return None
    of = f" of {known.evaluation.queries}" if known.evaluation else ""
    return proven(f"{count:.0f}{of} test queries score lower with the student; see the report.")


def formats(known: Evidence) -> Finding | None:
    """Judge whether the student has a format for inference servers."""
    if known.artifact is None:
        return None
    listed = ", ".join(known.artifact.formats)
    if any("onnx" in name.lower() for name in known.artifact.formats):
        return proven(f"Formats: {listed}.")
    return person(f"Published as {listed}: convert it if your server needs another format.")


def containerised(known: Evidence) -> Finding | None:
    """Judge whether the student can be mounted as an image."""
    if known.artifact is None:
        return None
    if known.artifact.uri.startswith("oci://"):
        return proven(f"{known.artifact.uri} can be mounted as an image volume.")
    return person("No target of publish is a registry: add oci, or build an image.")


def baseline_cost(known: Evidence) -> Finding | None:
    """Judge whether the teacher's daily cost is known."""
    price, requests = known.spec.prices.teacher_million_requests, known.spec.prices.daily_requests
    if price is None or requests is None:
        return person("Set prices.teacherMillionRequests and prices.dailyRequests.")
    daily = price * requests / 1e6
    return proven(f"The teacher costs {text.money(daily, known.spec.prices.currency)} a day.")


def savings(known: Evidence) -> Finding | None:
    """Judge what the student saves a month."""
    if known.cost is None:
        return None
    if known.cost.savings_per_day is None:
        return worth.unpriced()
    return worth.monthly(known.cost.savings_per_day, known.cost.currency)


def break_even(known: Evidence) -> Finding | None:
    """Judge when the job has paid for itself."""
    if known.cost is None or known.artifact is None:
        return None
    if known.cost.savings_per_day is None:
        return worth.unpriced()
    if known.cost.break_even_days is None:
        return worth.never_paid()
    return worth.paid(known.cost.break_even_days)


def recipe_documented(known: Evidence) -> Finding | None:
    """Judge whether the artifact says how it was made."""
    if known.artifact is None:
        return None
    return proven("The published model card and lineage.json state the whole recipe.")


def hyperparameters(known: Evidence) -> Finding | None:
    """Judge whether the settings are pinned."""
    if known.artifact is None:
        return None
    made = known.artifact.lineage
    return proven(f"Recipe {made.recipe[:19]}, seed {made.seed}, version {made.code_version}.")


def reproducible(known: Evidence) -> Finding | None:
    """Judge whether a second run can be compared."""
    if known.artifact is None:
        return None
    return person(
        f"Run the same job again: equal training gives weightsDigest"
        f" {known.artifact.weights_digest[:19]}."
    )


def inference_documented(known: Evidence) -> Finding | None:
    """Judge whether the artifact says how it is used."""
    if known.artifact is None:
        return None
    return proven("The published model card shows how to load and call the student.")


def p95(known: Evidence) -> Finding | None:
    """Judge the student's P95 against the guide's 150 ms."""
    if known.evaluation is None:
        return None
    if (served := known.evaluation.benchmark) is not None:
        return _served_latency(served)
    value = float(known.evaluation.student.p95_milliseconds)
    return held(value < P95_MILLISECONDS, f"{value:g} ms for a single request; below 150 ms.")


def _served_latency(served: BenchmarkStatus) -> Finding:
    """Judge what a user waits for: an answer, or the first token of one that is written."""
    tokens = served.student.tokens
    found = tokens.time_to_first_token if tokens is not None else served.student
    value, rate = float(found.p95_milliseconds), f"{float(served.requests_per_second):g}"
    what = " to the first token" if tokens is not None else ""
    told = f"{value:g} ms{what} when served {rate} requests a second; below 150 ms."
    return held(value < P95_MILLISECONDS, told)


def half_saved(known: Evidence) -> Finding | None:
    """Judge the share that the student saves against the guide's half."""
    teacher = known.spec.prices.teacher_million_requests
    student = known.spec.prices.student_million_requests
    if not teacher or student is None:
        return worth.half(None)
    return worth.half(1 - student / teacher)
