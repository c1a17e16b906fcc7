"""`distill-client doctor`: what would stop or spoil a run with these options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from student.errors import BadInput

if TYPE_CHECKING:
    from student.doctor.finding import Finding
    from student.options import Options


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client doctor",
        usage="distill-client doctor [-h] [--json] [OPTION ...]",
        description=(
            "Look at everything that a run with these options needs: the API key, the vendor and "
            "its model, the balance, the proxy, the disks, the store of rendered views, the "
            "device, the student's weights, the cache and every image. Each finding that is not "
            '"ok" names a fix. Nothing is bought. The options are those of distill-client itself, '
            "from the command line, the environment and --config."
        ),
        epilog="The exit code is 0 if no finding is an error, and 2 otherwise.",
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def main(arguments: list[str]) -> int:
    """Prints the findings; returns 2 if one of them is an error. Raises BadInput for options that
    cannot be read."""
    own, others = parser().parse_known_args(arguments)
    from student.options.read import read_options
    from student.options.unlabelled import without_classes

    is_json = own.json
    options = without_classes(read_options(others))
    found = []
    for finding in _findings(options):
        found.append(finding)
        if not is_json:
            _show(finding)
    errors = sum(finding.level == "error" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if is_json:
        listed = [finding.as_dict() for finding in found]
        print(json.dumps({"findings": listed, "errors": errors, "warnings": warnings}, indent=2))
    else:
        print(f"\n{errors} errors, {warnings} warnings; nothing was bought")
    return BadInput.exit_code if errors else 0


def _findings(options: Options) -> Iterator[Finding]:
    """Cheap checks first; a check that fails does not stop those after it."""
    from student.doctor import folders, images, machine, vendor, views
    from student.doctor.finding import checked
    from student.options.purchase import KEY_VARIABLE
    from student.purchase.session import START_A_VENDOR

    checks = (
        ("API key", machine.key, f"set {KEY_VARIABLE}, or name a file with --key-file"),
        ("budget", machine.budget, "set --budget"),
        ("network", vendor.network, "correct the environment variable"),
        ("vendor", vendor.vendor, f"check --vendor, --teacher and the key. {START_A_VENDOR}"),
        ("cache", vendor.stored_answers, "run `cache-report verify --repair`"),
        ("disk", folders.folders, "name another folder with --out or --cache"),
        ("store, --pixels", views.address, "name another folder or address with --pixels"),
        ("data", images.images, "correct the folder, or name another with --data"),
        ("device", machine.device, "use --device auto"),
        ("student", machine.students, "choose another --backbone, --weights or --image-size"),
    )
    for subject, check, fix in checks:
        yield from checked(subject, partial(check, options), fix=fix)


def _show(finding: Finding) -> None:
    print(f"{finding.level:<8} {finding.subject}: {finding.detail}", flush=True)
    if finding.fix:
        print(f"         fix: {finding.fix}", flush=True)
