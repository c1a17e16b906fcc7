"""`distill-client init`: asks for what has no default, and writes a configuration file."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import get_args

from cache.storage.atomic_file import replace_file
from student.errors import BadInput
from student.options.presets import PRESETS, PresetName
from student.options.purchase import KEY_VARIABLE
from student.options.section import user_path
from student.options.template import toml_template

_DEFAULT_URL = "http://127.0.0.1:8000"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client init",
        description=(
            "Write a TOML file with every option and its help, for --config. On a terminal, what "
            "is not given here is asked for. Nothing is sent and nothing is bought."
        ),
    )
    made.add_argument(
        "file", type=user_path, nargs="?", default=Path("distill.toml"), help="default: %(default)s"
    )
    made.add_argument("--data", metavar="FOLDER", help="folder of labelled images")
    made.add_argument(
        "--target-domain", action="append", metavar="DOMAIN", help="domain to hold out (repeatable)"
    )
    made.add_argument("--vendor", metavar="URL", help=f"default: {_DEFAULT_URL}")
    made.add_argument("--budget", type=int, metavar="QUERIES", help="most queries to pay for")
    made.add_argument(
        "--preset",
        choices=get_args(PresetName),
        default="quick",
        help="quick (default): minutes on two cores; paper: the published values, hours without a "
        "GPU; `distill-client --dry-run` says how long on this machine",
    )
    made.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    return made


def main(arguments: list[str]) -> int:
    """Writes the file and prints what to run next. Raises BadInput for a file that exists, a data
    folder that cannot be used, and an answer that is not what is asked for."""
    options = parser().parse_args(arguments)
    if options.file.exists() and not options.force:
        message = f"{options.file} exists; name another file, or overwrite it with --force"
        raise BadInput(message)
    values = {**_answers(options), **PRESETS[options.preset]}
    replace_file(options.file, toml_template(values).encode())
    named = shlex.quote(str(options.file))
    print(f"wrote {options.file}. Next:")
    if not os.environ.get(KEY_VARIABLE, "").strip():
        print(f"  export {KEY_VARIABLE}=…      # the vendor's key; it is not kept in the file")
    print(f"  distill-client doctor --config {named}")
    print(f"  distill-client --config {named} --dry-run")
    print(f"  distill-client --config {named}")
    return 0


def _answers(options: argparse.Namespace) -> dict[str, object]:
    from student.data.folder.image_folder import discover

    data = options.data or _asked("Folder of images, <domain>/<class>/* or <class>/*", "data")
    catalogue = discover(user_path(data))
    domains = ", ".join(catalogue.domains)
    print(
        f"{len(catalogue.items):,} images of {len(catalogue.classes):,} classes; domains: {domains}"
    )
    held_out = options.target_domain
    if held_out is None and len(catalogue.domains) > 1:
        answer = _asked("Domains to hold out, with commas; empty holds out each in turn", "")
        held_out = [name for part in answer.split(",") if (name := part.strip())]
    held_out = [catalogue.domain(name) for name in held_out or ()]
    if unknown := [name for name in held_out if name not in catalogue.domains]:
        message = f"no domain {', '.join(unknown)} in {data}; there are {domains}"
        raise BadInput(message)
    if set(held_out) == set(catalogue.domains):
        message = "every domain is held out: name fewer --target-domain"
        raise BadInput(message)
    vendor = options.vendor or _asked("Base URL of the vendor", _DEFAULT_URL)
    budget = options.budget
    if budget is not None and budget < 0:
        message = f"a budget is a whole number of queries, not {budget}"
        raise BadInput(message)
    if budget is None:
        # One query for each image and each class is what the quick preset asks for.
        advised = len(catalogue.items) + len(catalogue.classes)
        budget = _count(_asked("Most queries to pay for", str(advised)))
    chosen: dict[str, object] = {"data": data, "vendor": vendor, "budget": budget}
    return chosen | ({"target_domain": held_out} if held_out else {})


def _count(answer: str) -> int:
    cleaned = answer.replace(",", "").replace("_", "")
    if not cleaned.isdecimal():
        message = f"a budget is a whole number of queries, not {answer!r}"
        raise BadInput(message)
    return int(cleaned)


def _asked(question: str, default: str) -> str:
    """The answer on a terminal; elsewhere the default."""
    if not sys.stdin.isatty():
        return default
    shown = f" [{default}]" if default else ""
    return input(f"{question}{shown}: ").strip() or default
