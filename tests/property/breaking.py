"""Runs a machine with a broken part until it fails, the same way each time."""

import traceback

from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ingest.errors import IngestError


def what_fails(machine: type[RuleBasedStateMachine], **broken: object) -> set[str]:
    """Return the functions in which a law was broken, none if it was not."""
    try:
        run_state_machine_as_test(
            type("Broken", (machine,), broken),
            settings=settings(
                deadline=None,
                max_examples=300,
                stateful_step_count=25,
                phases=[Phase.generate],
                derandomize=True,
                database=None,
            ),
        )
    except (AssertionError, IngestError) as error:
        return {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    return set()
