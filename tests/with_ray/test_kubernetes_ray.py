"""Ray Serve's own reader accepts the configuration in KubeRay's manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

MANIFEST = Path(__file__).parents[2] / "docker" / "kubernetes-ray" / "ray-service.yaml"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray about itself
def test_the_configuration_of_the_manifest_is_one_of_ray_serve() -> None:
    from ray.serve.schema import ServeDeploySchema

    manifest = yaml.safe_load(MANIFEST.read_text("utf-8"))
    read = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (application,) = read.applications
    assert application.import_path == "teacher_server.ray_serve.application:application"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_manifest_names_a_function_that_builds_an_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.serve import Application

    from teacher_server.ray_serve.application import application

    monkeypatch.setenv("TEACHER_DATABASE", "postgresql://vendor@database/ledger")
    assert isinstance(application({}), Application)
