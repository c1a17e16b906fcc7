"""Where an option comes from."""

import pickle
from pathlib import Path

import pytest

from student.errors import BadInput
from student.options.purchase import api_key
from student.options.read import read_options


def test_the_command_line_overrides_the_environment_then_the_file_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "distill.toml"
    config.write_text("steps = 1\nalign_steps = 1\nviews = 1\n")
    monkeypatch.setenv("DISTILL_STEPS", "2")
    monkeypatch.setenv("DISTILL_ALIGN_STEPS", "2")
    options = read_options(["--config", str(config), "--steps", "3"])
    assert (options.training.steps, options.training.align_steps, options.data.views) == (3, 2, 1)
    assert options.training.batch_per_domain == 32


def test_teacher_url_names_the_vendor_unless_the_command_line_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEACHER_URL", "http://vendor:1")
    assert read_options([]).purchase.vendor == "http://vendor:1"
    assert read_options(["--vendor", "http://other:2"]).purchase.vendor == "http://other:2"


def test_teacher_url_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.toml").write_text('vendor = "http://file:3"\n')
    monkeypatch.setenv("TEACHER_URL", "http://vendor:1")
    assert read_options(["--config", str(tmp_path / "c.toml")]).purchase.vendor == "http://vendor:1"


def test_target_domains_repeat_on_the_command_line() -> None:
    options = read_options(["--target-domain", "a", "--target-domain", "b"])
    assert options.data.target_domain == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("outline", ["outline"]),
        ("outline, clip art", ["outline", "clip art"]),
        ('["outline"]', ["outline"]),
        ('["ink, black", "2024"]', ["ink, black", "2024"]),
        ("2024", ["2024"]),
        ("[draft", ["[draft"]),
        ("", []),
    ],
)
def test_target_domains_in_the_environment_are_plain_names_or_a_json_list(
    value: str, domains: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_TARGET_DOMAIN", value)
    assert read_options([]).data.target_domain == domains


def test_one_target_domain_in_the_file_needs_no_brackets(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('target-domain = "outline"\n')
    assert read_options(["--config", str(tmp_path / "c.toml")]).data.target_domain == ["outline"]


def test_a_list_of_names_that_are_not_strings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_TARGET_DOMAIN", "[1]")
    with pytest.raises(BadInput, match="target-domain"):
        read_options([])


@pytest.mark.parametrize("name", ["dry-run", "dry_run"])
def test_the_file_may_spell_an_option_as_the_command_line_does(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"{name} = true\n")
    assert read_options(["--config", str(tmp_path / "c.toml")]).run.dry_run


def test_an_option_in_two_spellings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("dry-run = true\ndry_run = false\n")
    with pytest.raises(BadInput, match="twice"):
        read_options(["--config", str(tmp_path / "c.toml")])


def test_every_option_can_be_set_in_the_file(tmp_path: Path) -> None:
    options = {
        name: value for name, value in read_options([]).as_json().items() if value is not None
    }
    config = tmp_path / "all.toml"
    config.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in options.items()))
    assert read_options(["--config", str(config)]).as_json() == {
        **read_options([]).as_json(),
        "config": str(config),
    }


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--budget", "-1"], "budget: Input should be greater than or equal to 0"),
        (["--lmd", "2"], "lmd: Input should be less than or equal to 1"),
        (["--config", "/nowhere.toml"], "no configuration file /nowhere.toml"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(argv: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_options(argv)


def test_an_unknown_option_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("stepps = 3\n")
    with pytest.raises(BadInput, match="stepps"):
        read_options(["--config", str(tmp_path / "c.toml")])


def test_a_variable_that_no_option_reads_is_refused_with_the_nearest_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILL_TARGET_DOMIAN", "sketch")
    monkeypatch.setenv("distill_buget", "5")
    nearest = (
        r"DISTILL_BUGET \(did you mean DISTILL_BUDGET\?\), "
        r"DISTILL_TARGET_DOMIAN \(did you mean DISTILL_TARGET_DOMAIN\?\)"
    )
    with pytest.raises(BadInput, match=nearest):
        read_options(["--budget", "5"])


def test_a_variable_that_is_like_no_option_is_refused_without_a_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILL_QQQQ", "1")
    with pytest.raises(BadInput, match="sets DISTILL_QQQQ, which no option reads"):
        read_options([])


@pytest.mark.parametrize("name", ["budget", "views", "threads", "lr", "data"])
def test_an_option_that_is_no_switch_is_refused_as_true_or_false(name: str, tmp_path: Path) -> None:
    config = tmp_path / "distill.toml"
    config.write_text(f"{name} = true\n")
    with pytest.raises(BadInput, match=f"{name}: it is no switch, and .* says true"):
        read_options(["--config", str(config)])


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("steps = = 3\n")
    with pytest.raises(BadInput, match="is not TOML"):
        read_options(["--config", str(tmp_path / "c.toml")])


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b'vendor = "http://caf\xe9"\n')
    with pytest.raises(BadInput, match=r"c\.toml is not TOML: 'utf-8' codec"):
        read_options(["--config", str(tmp_path / "c.toml")])


def test_a_config_without_a_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["--config"])
    assert ended.value.code == 2
    assert "--config: expected one argument" in capsys.readouterr().err


def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for name in ("bench", "forecast", "predict", "demo-data"):
        assert f"distill-client {name}" in printed


def test_a_key_file_that_is_not_text_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"sk_\xff\xfe")
    with pytest.raises(BadInput, match="is not valid UTF-8") as caught:
        api_key(read_options(["--key-file", str(tmp_path / "key")]).purchase)
    assert "0xff" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_key_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_env_secret")
    assert api_key(read_options([]).purchase).get_secret_value() == "sk_env_secret"
    (tmp_path / "key").write_text("sk_file_secret\n")
    options = read_options(["--key-file", str(tmp_path / "key")])
    assert api_key(options.purchase).get_secret_value() == "sk_file_secret"


def test_a_missing_key_is_an_error_that_says_where_to_set_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TEACHER_API_KEY", raising=False)
    with pytest.raises(BadInput, match="TEACHER_API_KEY or name a file with --key-file"):
        api_key(read_options([]).purchase)


def test_options_can_be_sent_to_another_process() -> None:
    options = read_options(["--steps", "3"])
    sent = pickle.loads(pickle.dumps(options))
    assert (sent, sent.named) == (options, options.named)


@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_a_tilde_is_the_home_folder_wherever_a_path_is_written(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {
        "data": "~/images",
        "cache": "~/paid",
        "key_file": "~/key",
        "out": "~/runs",
        "weights": "~/vit.safetensors",
        "backbone": "open_clip:local-dir:~/clip",
    }
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments: list[str] = []
    if source == "flag":
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in written.items()]
    elif source == "variable":
        for name, value in written.items():
            monkeypatch.setenv(f"DISTILL_{name.upper()}", value)
    else:
        lines = [f'{name} = "{value}"\n' for name, value in written.items()]
        (tmp_path / "distill.toml").write_text("".join(lines))
        monkeypatch.setenv("DISTILL_CONFIG", "~/distill.toml")
    read = read_options(arguments)
    assert (read.data.data, read.run.out) == (tmp_path / "images", tmp_path / "runs")
    assert read.purchase.cache == tmp_path / "paid"
    assert read.purchase.key_file == tmp_path / "key"
    assert read.training.weights == str(tmp_path / "vit.safetensors")
    assert read.training.backbone == f"open_clip:local-dir:{tmp_path}/clip"


def test_the_home_folder_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(BadInput, match=r"out: .*~nobody-here/x: there is no such home folder"):
        read_options(["--out", "~nobody-here/x"])
    with pytest.raises(BadInput, match="there is no such home folder"):
        read_options(["--config", "~nobody-here/x.toml"])
