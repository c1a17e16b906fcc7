"""The RayService fits the schemas of Kubernetes where it has pods, the vendor, and its image.

The schema of the RayService itself is KubeRay's, which no package carries. Its configuration of
Ray Serve is read by Ray's own reader in tests/with_ray.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from teacher_server.ray_serve import proxy
from teacher_server.ray_serve.application import NAME, application
from teacher_server.settings import VendorSettings

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes-ray"
VERSIONS = ("1.31", kubernetes_validate.latest_version())
SETTINGS = yaml.safe_load((FOLDER / "settings.yaml").read_text("utf-8"))
SERVICE = yaml.safe_load((FOLDER / "ray-service.yaml").read_text("utf-8"))
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = {"head": CLUSTER["headGroupSpec"]} | {
    group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]
}
PODS = {name: group["template"] for name, group in GROUPS.items()}
SERVE = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PODS)
def test_a_pod_fits_the_schema_of_kubernetes(name: str, version: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod"} | PODS[name]
    kubernetes_validate.validate({"metadata": {"name": name}} | pod, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_settings_fit_the_schema_of_kubernetes(version: str) -> None:
    kubernetes_validate.validate(SETTINGS, version, strict=True)


def test_every_setting_is_an_option_of_the_vendor_on_ray_serve() -> None:
    given = {
        name.removeprefix("TEACHER_").lower(): value
        for name, value in SETTINGS["data"].items()
        if name.startswith("TEACHER_")
    }
    assert not set(given) & VendorSettings.not_flags
    assert VendorSettings.model_validate(given).serve_with == "ray"
    assert SETTINGS["data"][proxy.VARIABLE] == proxy.VALUE


@pytest.mark.parametrize("name", PODS)
def test_secrets_come_from_the_secret_and_settings_from_the_map(name: str) -> None:
    container = _container(PODS[name])
    assert container["envFrom"] == [{"configMapRef": {"name": SETTINGS["metadata"]["name"]}}]
    secret = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"][:2]}
    assert {name: source["key"] for name, source in secret.items()} == {
        "TEACHER_DATABASE": "database",
        "TEACHER_PEPPER": "pepper",
    }


def test_no_file_holds_a_secret() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text("utf-8")
        assert re.search(r"\bsk_\w|postgres(ql)?(\+\w+)?://", text) is None, file
    assert "env_vars" not in SERVICE["spec"]["serveConfigV2"]  # Ray shows them


def test_the_application_is_the_vendors() -> None:
    (served,) = SERVE["applications"]
    module, _, name = served["import_path"].partition(":")
    assert (module, name) == (application.__module__, application.__name__)
    assert (served["name"], served["route_prefix"]) == (NAME, "/")


def test_least_replicas_and_their_substitutes_fit_the_pods() -> None:
    settings = VendorSettings.model_validate(
        {
            name.removeprefix("TEACHER_").lower(): value
            for name, value in SETTINGS["data"].items()
            if name.startswith("TEACHER_")
        }
    )
    assert settings.threads is not None
    workers = GROUPS["replicas"]
    cores = int(_container(workers["template"])["resources"]["limits"]["cpu"])
    needed = settings.min_api_replicas + settings.min_encoder_replicas * settings.threads
    assert needed <= cores * workers["minReplicas"]
    most = settings.max_api_replicas + settings.max_encoder_replicas * settings.threads
    assert most <= cores * workers["maxReplicas"]
    assert settings.threads <= cores


@pytest.mark.parametrize("name", PODS)
def test_the_containers_are_confined(name: str) -> None:
    spec, container = PODS[name]["spec"], _container(PODS[name])
    assert f"\nUSER {spec['securityContext']['runAsUser']}\n" in (FOLDER / "Dockerfile").read_text()
    assert spec["securityContext"]["runAsNonRoot"] is True
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert spec["enableServiceLinks"] is False


def test_ray_takes_a_token_and_is_of_the_version_of_the_extra() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    minor = CLUSTER["rayVersion"].rpartition(".")[0]
    wanted = f'"ray[serve]=={minor}.*"'
    assert wanted in (FOLDER / "Dockerfile").read_text()
    assert wanted in (FOLDER.parents[1] / "pyproject.toml").read_text()


def test_a_pod_has_the_time_to_end_its_requests() -> None:
    ends = VendorSettings.model_fields["shutdown_seconds"].default
    assert PODS["replicas"]["spec"]["terminationGracePeriodSeconds"] > ends
