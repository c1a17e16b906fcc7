"""The files of the profile `observability` have the shape that Prometheus and Grafana read, and
name each other and the services of the Compose file: Grafana itself is in no Debian package, so
that no test can start it without an image registry."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from pydantic.alias_generators import to_camel

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "observability"


class Strict(BaseModel):
    """A mapping without other keys than these."""

    model_config = ConfigDict(extra="forbid")


class Camel(Strict):
    """The same, with keys in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class StaticTargets(Strict):
    targets: list[str] = Field(min_length=1)


class ScrapeJob(Strict):
    job_name: str = Field(min_length=1)
    static_configs: list[StaticTargets] = Field(min_length=1)
    metrics_path: str = Field("/metrics", pattern="^/")


class GlobalSettings(Strict):
    scrape_interval: str = Field(pattern=r"^[1-9]\d*(ms|s|m|h)$")


class PrometheusFile(Strict):
    """The part of https://prometheus.io/docs/prometheus/latest/configuration that is used."""

    settings: GlobalSettings = Field(alias="global")
    scrape_configs: list[ScrapeJob] = Field(min_length=1)


class Source(Camel):
    type: Literal["prometheus"]
    uid: str


class Grid(Camel):
    x: int = Field(ge=0, lt=24)
    y: int = Field(ge=0)
    w: int = Field(ge=1, le=24)
    h: PositiveInt


class Target(Camel):
    ref_id: str = Field(pattern="^[A-Z]$")
    expr: str = Field(min_length=1)
    legend_format: str = ""


class Defaults(Camel):
    unit: Literal["short", "s", "reqps", "cps", "ops"]
    min: float


class FieldConfig(Camel):
    defaults: Defaults
    overrides: list[Any] = Field(max_length=0)


class Panel(Camel):
    id: PositiveInt
    type: Literal["timeseries"]
    title: str = Field(min_length=1)
    datasource: Source
    grid_pos: Grid
    field_config: FieldConfig
    targets: list[Target] = Field(min_length=1)


class Dashboard(Camel):
    """The part of Grafana's dashboard model, schema version 39, that is used."""

    uid: str = Field(pattern=r"^[\w-]{1,40}$")
    title: str = Field(min_length=1)
    schema_version: Literal[39]
    version: PositiveInt
    refresh: str
    time: dict[Literal["from", "to"], str]
    panels: list[Panel] = Field(min_length=1)


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard.model_validate_json((FOLDER / "vendor-dashboard.json").read_text("utf-8"))


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = _yaml("docker-compose.yml")["services"]
    return found


def test_prometheus_asks_a_service_of_the_compose_file_at_its_port(
    services: dict[str, Any],
) -> None:
    file = PrometheusFile.model_validate(_yaml("docker/observability/prometheus.yml"))
    (job,) = file.scrape_configs
    ((target,),) = [static.targets for static in job.static_configs]
    name, _, port = target.partition(":")
    assert [mapped.rpartition(":")[2] for mapped in services[name]["ports"]] == [port]
    mounts = dict(mount.split(":")[:2] for mount in services["prometheus"]["volumes"])
    assert mounts["./docker/observability/prometheus.yml"] == "/etc/prometheus/prometheus.yml"


def test_a_wrong_key_in_the_file_of_prometheus_is_found() -> None:
    wrong = _yaml("docker/observability/prometheus.yml")
    wrong["scrape_configs"][0]["static_config"] = wrong["scrape_configs"][0].pop("static_configs")
    with pytest.raises(ValidationError, match="static_config"):
        PrometheusFile.model_validate(wrong)


def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard: Dashboard) -> None:
    numbers = [panel.id for panel in dashboard.panels]
    assert len(set(numbers)) == len(numbers)
    for one, other in combinations([panel.grid_pos for panel in dashboard.panels], 2):
        beside = one.x + one.w <= other.x or other.x + other.w <= one.x
        above = one.y + one.h <= other.y or other.y + other.h <= one.y
        assert beside or above
    for panel in dashboard.panels:
        letters = [target.ref_id for target in panel.targets]
        assert len(set(letters)) == len(letters)
        assert panel.grid_pos.x + panel.grid_pos.w <= 24


def test_every_panel_reads_the_data_source_that_is_set_up(
    dashboard: Dashboard, services: dict[str, Any]
) -> None:
    (source,) = _yaml("docker/observability/datasource.yml")["datasources"]
    assert {panel.datasource.uid for panel in dashboard.panels} == {source["uid"]}
    host = source["url"].removeprefix("http://").partition(":")[0]
    assert host in services


def test_grafana_finds_the_dashboard_where_the_compose_file_puts_it(
    services: dict[str, Any],
) -> None:
    (provider,) = _yaml("docker/observability/dashboards.yml")["providers"]
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    placed = Path(mounts["./docker/observability/vendor-dashboard.json"])
    assert str(placed.parent) == provider["options"]["path"]
    below = "/etc/grafana/provisioning"
    assert mounts["./docker/observability/datasource.yml"].startswith(f"{below}/datasources/")
    assert mounts["./docker/observability/dashboards.yml"].startswith(f"{below}/dashboards/")


@pytest.mark.parametrize("name", ["prometheus", "grafana", "postgres", "caddy", "proxy"])
def test_an_image_that_others_built_is_pinned_and_confined(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    _, _, version = service["image"].partition(":")
    assert any(character.isdigit() for character in version)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
