"""The Kubernetes manifests fit the schemas of Kubernetes, the vendor, and each other.

The schemas are those that Kubernetes publishes, in the package kubernetes-validate; `strict` also
refuses fields that they do not have. No test starts a cluster.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from teacher_server.api.app import openapi_document
from teacher_server.settings import VendorSettings

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
VERSIONS = ("1.31", kubernetes_validate.latest_version())


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


KUSTOMIZATION = _documents("kustomization.yaml")[0]
RESOURCES = [document for name in KUSTOMIZATION["resources"] for document in _documents(name)]


def _only(kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in RESOURCES if resource["kind"] == kind]
    return found


@pytest.fixture
def deployment() -> dict[str, Any]:
    return copy.deepcopy(_only("Deployment"))


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: str(resource["kind"]))
def test_a_manifest_fits_the_schema_of_its_kind(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "template", "spec", "containers", 0, "livenesProbe"), {}),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "40s"),
        (("spec", "strategy", "rollingUpdate", "maxUnavailable"), [0]),
        (("spec",), {}),
    ],
)
def test_a_wrong_field_is_found(
    deployment: dict[str, Any], path: tuple[str | int, ...], value: object
) -> None:
    place: Any = deployment
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_every_file_of_the_folder_is_installed() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert files == {"kustomization.yaml", *KUSTOMIZATION["resources"]}


def test_no_file_holds_a_secret() -> None:
    """The database and the pepper come from a Secret that the operator makes."""
    assert [resource["kind"] for resource in RESOURCES if resource["kind"] == "Secret"] == []
    assert "secretGenerator" not in KUSTOMIZATION
    for file in FOLDER.rglob("*.yaml"):
        assert re.search(r"\bsk_\w|postgres(ql)?(\+\w+)?://", file.read_text("utf-8")) is None, file


def test_secret_options_are_read_from_the_secret_and_no_other(container: dict[str, Any]) -> None:
    references = {one["name"]: one.get("valueFrom", {}) for one in container["env"]}
    secret = {name for name, source in references.items() if "secretKeyRef" in source}
    assert secret == {"TEACHER_DATABASE", "TEACHER_PEPPER"}
    assert {references[name]["secretKeyRef"]["name"] for name in secret} == {"teacher"}


def test_every_variable_is_an_option_of_the_vendor(container: dict[str, Any]) -> None:
    (settings,) = KUSTOMIZATION["configMapGenerator"]
    assert container["envFrom"] == [{"configMapRef": {"name": settings["name"]}}]
    names = {one["name"] for one in container["env"]}
    names |= {literal.partition("=")[0] for literal in settings["literals"]}
    options = {f"TEACHER_{name.upper()}" for name in VendorSettings.model_fields}
    assert names <= options
    literals = dict(literal.split("=", 1) for literal in settings["literals"])
    given = {name.removeprefix("TEACHER_").lower(): value for name, value in literals.items()}
    VendorSettings.model_validate(given)


def test_no_variable_of_a_service_is_taken_for_an_option(pod: dict[str, Any]) -> None:
    """Kubernetes sets <NAME>_PORT to a URL for each Service; TEACHER_PORT is the vendor's port."""
    assert f"{_only('Service')['metadata']['name'].upper()}_PORT" == "TEACHER_PORT"
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_a_probe_asks_a_route_of_the_vendor_at_its_port(
    container: dict[str, Any], probe: str
) -> None:
    asked = container[probe]["httpGet"]
    assert asked["path"] in openapi_document()["paths"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[asked["port"]] == VendorSettings.model_fields["port"].default
    # A database that is away for a minute must not restart every replica.
    assert (asked["path"] == "/readyz") is (probe == "readinessProbe")


def test_a_replica_has_the_time_to_end_its_requests(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ends = VendorSettings.model_fields["shutdown_seconds"].default
    assert pod["terminationGracePeriodSeconds"] > waits + ends


def test_service_budget_and_autoscaler_name_the_deployment(deployment: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert _only("Service")["spec"]["selector"] == labels
    assert _only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    scaled = _only("HorizontalPodAutoscaler")["spec"]
    named = scaled["scaleTargetRef"]
    assert [named["kind"], named["name"]] == ["Deployment", deployment["metadata"]["name"]]
    assert scaled["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"]


def test_the_container_is_confined(pod: dict[str, Any], container: dict[str, Any]) -> None:
    dockerfile = (FOLDER.parent / "teacher.Dockerfile").read_text("utf-8")
    assert f"\nUSER {pod['securityContext']['runAsUser']}\n" in dockerfile
    assert pod["securityContext"]["runAsNonRoot"] is True
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    (image,) = KUSTOMIZATION["images"]
    assert image["name"] == container["image"]
