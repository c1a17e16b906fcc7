"""Flags win over environment, TOML and defaults; errors name the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, vendor_at
from teacher_server.errors import SettingsError
from teacher_server.settings import load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER_PORT", "TEACHER_MODEL", "TEACHER_MAX_BATCH", "TEACHER_FIRST_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_serve_the_embedded_model_on_the_loopback() -> None:
    settings = load_settings({})
    assert (settings.model, settings.host, settings.port) == ("embedded", "127.0.0.1", 8000)
    assert settings.database == "sqlite:///./vendor/ledger.db"
    assert settings.price.cost(3) == 300


def test_flags_win_over_environment_over_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "vendor.toml"
    config.write_text('model = "from-toml"\nport = 1\nmax_batch = 1\nmax_items = 1\n')
    monkeypatch.setenv("TEACHER_PORT", "2")
    monkeypatch.setenv("TEACHER_MAX_BATCH", "2")
    settings = load_settings({"max_batch": 3}, config=config)
    chosen = (settings.model, settings.max_items, settings.port, settings.max_batch)
    assert chosen == ("from-toml", 1, 2, 3)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_PORT", "")
    monkeypatch.setenv("TEACHER_FIRST_KEY", "")
    settings = load_settings({})
    assert (settings.port, settings.first_key) == (8000, None)


@pytest.mark.parametrize(
    ("flags", "option"),
    [({"port": 70_000}, "port"), ({"max_batch": 0}, "max_batch"), ({"dtype": "fp8"}, "dtype")],
)
def test_an_invalid_option_is_named(flags: dict[str, object], option: str) -> None:
    with pytest.raises(SettingsError, match=f"option {option}"):
        load_settings(flags)


@pytest.mark.parametrize(
    ("option", "most"),
    [
        ("lease_seconds", 86_400),
        ("shutdown_seconds", 86_400),
        ("header_seconds", 86_400),
        ("body_seconds", 86_400),
        ("keep_alive_seconds", 86_400),
        ("micro_usd_per_unit", 10**12),
        ("answer_days", 36_500),
    ],
)
def test_a_value_beyond_database_or_calendar_range_is_refused(option: str, most: int) -> None:
    assert getattr(load_settings({option: most}), option) == most
    with pytest.raises(SettingsError, match=f"option {option}"):
        load_settings({option: most + 1})


async def test_a_vendor_at_the_edge_of_its_settings_sells(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    async with vendor_at(
        tmp_path, hashing, lease_seconds=86_400, micro_usd_per_unit=10**12, answer_days=36_500
    ) as vendor:
        assert (await vendor.embed("a")).status_code == 200
        assert vendor.audit.faults == ()


def test_an_unknown_toml_key_a_broken_file_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "vendor.toml"
    config.write_text("prot = 1\n")
    with pytest.raises(SettingsError, match="prot"):
        load_settings({}, config=config)
    config.write_text("port = \n")
    with pytest.raises(SettingsError, match="TOML"):
        load_settings({}, config=config)
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings({}, config=tmp_path / "absent.toml")


def test_the_first_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk_first_0123456789abcdef"
    monkeypatch.setenv("TEACHER_FIRST_KEY", secret)
    settings = load_settings({})
    assert secret not in repr(settings)
    assert secret not in settings.model_dump_json()
    monkeypatch.setenv("TEACHER_FIRST_KEY_BUDGET", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert secret not in str(caught.value)


def test_a_webhook_needs_a_secret_to_sign_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_WEBHOOK_SECRET", raising=False)
    with pytest.raises(SettingsError, match=r"^webhook_url needs webhook_secret"):
        load_settings({"webhook_url": "https://example.org/alerts"})
    with pytest.raises(SettingsError, match="option webhook_url"):
        load_settings({"webhook_url": "file:///etc/passwd"})


@pytest.mark.parametrize(("name", "short"), [("PEPPER", "x" * 31), ("WEBHOOK_SECRET", "y" * 15)])
def test_a_secret_that_is_too_short_is_named_but_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, short: str
) -> None:
    monkeypatch.setenv(f"TEACHER_{name}", short)
    with pytest.raises(SettingsError, match=f"option {name.lower()}") as caught:
        load_settings({})
    assert short not in str(caught.value)
    monkeypatch.setenv(f"TEACHER_{name}", short + "z")
    settings = load_settings({})
    assert short not in repr(settings)
    assert short not in settings.model_dump_json()


def test_a_tilde_is_the_home_folder_in_every_path_of_the_vendor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "vendor.toml").write_text('model = "~/clip"\nurl_file = "~/url"\n')
    monkeypatch.setenv("TEACHER_FIRST_KEY_FILE", "~/first-key")
    settings = load_settings({"pretrained": "~/clip.pt"}, config=Path("~/vendor.toml"))
    assert (settings.model, settings.pretrained) == (f"{tmp_path}/clip", f"{tmp_path}/clip.pt")
    assert settings.url_file == tmp_path / "url"
    assert settings.first_key_file == tmp_path / "first-key"
    with pytest.raises(SettingsError, match=r"option url_file: .*no such home folder"):
        load_settings({"url_file": "~nobody-here/url"})
