"""A run in MLflow, at the server or in the database that its own environment variables name."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any

# What MLflow allows in the name of a metric, beside letters and figures.
_OTHERS = re.compile(r"[^\w.\- /:]")
_MOST_PARAMETERS = 100  # in one request
_MOST_LETTERS = 6000  # of a parameter


class MlflowRun:
    """A tracker that logs to one new run of the experiment MLFLOW_EXPERIMENT_NAME.

    Making one raises ImportError, and whatever MLflow raises where it has no store.
    """

    name = "mlflow"

    def __init__(self, title: str, settings: Mapping[str, Any], *, experiment: str) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._metric = Metric
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", experiment)
        found = self._client.get_experiment_by_name(name)
        place = found.experiment_id if found else self._client.create_experiment(name)
        self._run = self._client.create_run(place, run_name=title).info.run_id
        given = [Param(key, str(value)[:_MOST_LETTERS]) for key, value in settings.items()]
        for start in range(0, len(given), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=given[start : start + _MOST_PARAMETERS])

    @property
    def place(self) -> str:
        """Where the run is."""
        return f"run {self._run}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Logs the values in one request."""
        now = int(time.time() * 1000)
        metrics = [
            self._metric(_OTHERS.sub("_", name), value, now, step) for name, value in values.items()
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def result(self, values: Mapping[str, float]) -> None:
        """Logs the values at step 0."""
        self.log(values, 0)

    def close(self, *, failed: bool) -> None:
        """Marks the run as finished or failed."""
        self._client.set_terminated(self._run, status="FAILED" if failed else "FINISHED")
