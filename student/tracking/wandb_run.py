"""A run in Weights & Biases, in the mode and at the server of its own environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


class WandbRun:
    """A tracker that logs to one new run; nothing but metrics and options is sent.

    Making one raises ImportError, and whatever the tool raises without a login or a server.
    """

    name = "wandb"

    def __init__(self, title: str, settings: Mapping[str, Any], *, project: str) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", project),
            name=os.environ.get("WANDB_NAME", title),
            config=dict(settings),
            reinit="create_new",  # one for each student of leave-one-domain-out
            settings=wandb.Settings(
                # Not the output, the sources, the command line or the machine of the user.
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                silent=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    @property
    def place(self) -> str:
        """Where the run is."""
        return self._run.dir if self._run.offline else str(self._run.url)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Logs the values, which the tool sends in the background."""
        # Steps as a metric: methods that train at once, and a resumed run, come in no order.
        self._run.log({**values, "step": step})

    def result(self, values: Mapping[str, float]) -> None:
        """Sets the summary of the run."""
        self._run.summary.update(dict(values))

    def close(self, *, failed: bool) -> None:
        """Ends the run; waits until the tool has sent what is left."""
        self._run.finish(exit_code=1 if failed else 0)
