"""The table of classes by domains, and what a user should know of it before paying."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from student.console import Terminal
from student.data.folder.image_folder import Item
from student.data.folder.names import listed
from student.data.split import VALIDATION, Split
from student.training.pixels import Pixels, checksums_of

FEW = 5
"""A class with fewer images than this is marked."""
_MOST_ROWS = 100  # more classes than this are shown only where there is something to say
_ROW_STEP = 32  # every 32nd row of pixels finds candidates for equal images


def show_classes(
    classes: Sequence[str],
    domains: Sequence[str],
    items: Sequence[Item],
    splits: Sequence[Split],
    terminal: Terminal,
) -> None:
    """Print how many of these images each class has in each domain, and mark what is missing."""
    counts = Counter((item.class_name, item.domain) for item in items)
    totals = Counter(item.class_name for item in items)
    trained = {item.class_name for one in splits for item in one.train}
    notes = {name: _note(name, domains, counts, totals, name not in trained) for name in classes}
    shown = [name for name in classes if len(classes) <= _MOST_ROWS or notes[name]][:_MOST_ROWS]
    columns = ("class", *domains, "marks")
    rows = [
        [name, *(f"{counts[name, domain]:,}" for domain in domains), notes[name]] for name in shown
    ]
    widths = (max(map(len, column)) + 1 for column in zip(columns, *rows, strict=True))
    if sum(widths) > terminal.width:
        columns = ("class", "images", "domains", "marks")
        rows = [
            [
                name,
                f"{totals[name]:,}",
                f"{sum(counts[name, domain] > 0 for domain in domains)} of {len(domains)}",
                notes[name],
            ]
            for name in shown
        ]
    terminal.table(columns, rows)
    if len(shown) < len(classes):
        terminal.say(f"and {len(classes) - len(shown):,} more classes")
    shared = Counter(name for name, _ in counts)
    if apart := [
        domain
        for domain in domains
        if len(domains) > 1 and all(shared[name] == 1 for name, at in counts if at == domain)
    ]:
        terminal.warn(f"no class of {listed(apart)} is in another domain: is it a domain?")
    for names, where, images in never_trained(splits):
        verb, whose = ("is", "its") if len(names) == 1 else ("are", "their")
        # Where each domain is held out in turn, the other students are trained on it.
        never = "not trained on there" if trained.intersection(names) else "never trained on"
        terminal.warn(
            f"{listed(names)} {verb} only in held-out {listed(where)}: {never}, "
            f"{images:,} of {whose} images count as wrong"
        )


def show_domains(domains: Sequence[str], splits: Sequence[Split], terminal: Terminal) -> None:
    """Print how many images without labels each split trains on and measures, by domain."""
    for one in splits:
        used = {"trained on": one.train, VALIDATION: one.validation, **one.tests}
        counts = {name: Counter(item.domain for item in items) for name, items in used.items()}
        captions = [f"{sum(len(i.captions) for i in items):,}" for items in used.values()]
        terminal.table(
            ("images without labels", *used),
            [
                *([name, *(f"{count[name]:,}" for count in counts.values())] for name in domains),
                ["captions", "not used", *captions[1:]],
            ],
        )


def _note(
    name: str,
    domains: Sequence[str],
    counts: Mapping[tuple[str, str], int],
    totals: Mapping[str, int],
    is_untrained: bool,
) -> str:
    lacking = [domain for domain in domains if not counts[name, domain]]
    marks = [f"none in {listed(lacking, most=3)}"] if lacking else []
    marks += [f"fewer than {FEW} images"] if totals[name] < FEW else []
    marks += ["never trained on"] if is_untrained else []
    return "; ".join(marks)


def never_trained(
    splits: Sequence[Split],
) -> list[tuple[tuple[str, ...], tuple[str, ...], int]]:
    """Classes that a split measures and does not train on, by the parts that they are in, with the
    number of their images."""
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for one in splits:
        trained = {item.class_name for item in one.train}
        measured: dict[str, Counter[str]] = defaultdict(Counter)
        for part, items in {VALIDATION: one.validation, **one.tests}.items():
            for item in items:
                measured[item.class_name][part] += 1
        for name in sorted(measured.keys() - trained):
            parts = tuple(sorted(measured[name]))
            found[parts][name] = measured[name].total()
    return [(tuple(names), parts, sum(names.values())) for parts, names in found.items()]


def warn_of_two_classes(
    tables: Sequence[tuple[Sequence[Item], Pixels]], terminal: Terminal
) -> None:
    """Warn of images that are in two classes, by their pixels: (N, K, S, S, 3) for N items."""
    groups = list(_in_two_classes(tables))
    if not groups:
        return
    examples = "; ".join(" and ".join(str(item.path) for item in group[:2]) for group in groups[:3])
    terminal.warn(
        f"{len(groups):,} {'image is' if len(groups) == 1 else 'images are'} in two classes "
        f"(the same pixels): {examples}" + ("; …" if len(groups) > 3 else "")
    )


def _in_two_classes(
    tables: Sequence[tuple[Sequence[Item], Pixels]],
) -> Iterator[list[Item]]:
    alike: dict[bytes, dict[Item, tuple[Pixels, int]]] = defaultdict(dict)
    for items, pixels in tables:
        for row, (item, mark) in enumerate(zip(items, _marks(pixels), strict=True)):
            alike[mark].setdefault(item, (pixels, row))
    for group in alike.values():
        if len({item.class_name for item in group}) > 1:
            equal: dict[bytes, list[Item]] = defaultdict(list)
            for item, (pixels, row) in group.items():
                equal[hashlib.blake2b(pixels[row, 0].tobytes()).digest()].append(item)
            for same in equal.values():
                if len({item.class_name for item in same}) > 1:
                    yield _one_of_each_class(same)


def _marks(pixels: Pixels) -> Iterator[bytes]:
    """Some bytes of each image; equal images have equal ones."""
    if (checksums := checksums_of(pixels)) is not None:  # and nothing is read
        yield from (checksum.tobytes() for checksum in checksums[:, 0])
        return
    for row in range(len(pixels)):
        sample = pixels[row, 0][::_ROW_STEP].tobytes()
        yield hashlib.blake2b(sample, digest_size=16).digest()


def _one_of_each_class(items: Sequence[Item]) -> list[Item]:
    return list({item.class_name: item for item in items}.values())
