"""A tenant enters a state: logged once and counted once, whether a reader or the fleet sees it."""

import structlog

from ingest.model.status import WELL, FeedStatus, State
from ingest.telemetry.metrics import PipelineMetrics

_CALM = (*WELL, State.CATCHING_UP)


def say_entered(
    status: FeedStatus,
    *,
    was: str,
    metrics: PipelineMetrics,
    events: structlog.stdlib.BoundLogger,
) -> None:
    """Log and count the state that a feed has entered; `events` names the tenant."""
    metrics.transition(status.state)
    # Whoever was paused was so by somebody's decision, unlike one who awaits it.
    is_calm = status.state in _CALM or status.code == "paused"
    report = events.info if is_calm else events.warning
    report(
        "state_changed",
        state=str(status.state),
        code=status.code,
        was=was,
        reason=status.reason,
        must_act=str(status.blame.value),
    )
