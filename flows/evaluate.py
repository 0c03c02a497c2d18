"""The flow `evaluate`: write the report of a finished run, and emit an event when the run is promoted."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.artifacts import show_report
from flows.scheduled import PROMOTED, emit, run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.records import Promotion, to_row
from hubbleclip.evaluation.report.figures import figure_bytes, retrieval_figure
from hubbleclip.pipeline import evaluate as stage
from hubbleclip.pipeline.engine.execution import Execution
from hubbleclip.pipeline.engine.stage import layout_of


@flow(name="evaluate", flow_run_name=run_name)
def evaluate(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Report on the run trained on the newest dataset, and promote it if it is better on val than the promoted run.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"evaluation": {"bootstrap": 500}}.

    """
    decision = run_evaluate(read_settings(profile, overrides or {}))
    if decision and decision.is_promoted:
        parameters = {"profile": profile, "overrides": overrides or {}}
        emit(PROMOTED, f"run.{decision.run_id}", parameters, run_id=decision.run_id)


def run_evaluate(settings: Settings, execution: Execution = PREFECT) -> Promotion | None:
    """Run the stage evaluate, and show the decision and the retrieval figure on the Prefect page of the flow run."""
    done = stage.evaluate(settings, execution)
    if done.decision:
        row = {name: value for name, value in to_row(done.decision).items() if name != "decided_at"}
        create_table_artifact(
            [row], key="promotion", description="The run compared with the promoted run, on the val split"
        )
    show_report(layout_of(settings), done.report_dir, figure_bytes(retrieval_figure(done.metrics), "svg"))
    return done.decision
