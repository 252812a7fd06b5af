"""The studies that ship run from end to end at scale smoke."""

import pytest

from seatrial.report import make_report
from seatrial.store import Store
from seatrial.studies.outcome import outcome
from seatrial.studies.run import run
from seatrial.studies.study import STUDIES, read_study

HEAVY = [pytest.param(name, marks=pytest.mark.slow) for name in STUDIES[1:]]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", [STUDIES[0], *HEAVY])
def test_every_built_in_study_runs_at_scale_smoke(name, tmp_path):
    study, store = read_study(name, scale="smoke"), Store(tmp_path / "run")

    run(study, store)

    ended = outcome(study, store)
    assert len(ended.whole) == ended.units, list(ended.sentences())
    assert not ended.failed, list(ended.sentences())
    summary = make_report(store).summary
    methods = {label for plan in study.plans for label in (m.label for m in plan.methods)}
    tried = {trial.label.split(" ")[0] for trial in summary.trials}
    assert tried == methods
    for trial in summary.trials:
        assert trial.effect.low <= trial.effect.value <= trial.effect.high
    assert summary.cells_stored == summary.cells_planned
