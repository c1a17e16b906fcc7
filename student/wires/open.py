"""Opens the vendor that the options name, over the wire that they name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from student.errors import BadInput
from student.options.purchase import PurchaseOptions
from student.options.wire import WireOptions
from student.vendor.client import connect, http_client, require_plain_url
from student.vendor.transport import Timing
from student.wires import cohere, vertex, voyage
from student.wires.client import WireClient, wire_model
from student.wires.openai import OpenAIWire
from student.wires.own_prices import own_prices
from student.wires.protocol import Vendor, Wire

_ONLY_OF = {
    "input_shape": ("openai",),
    "task": ("openai",),
    "dimensions": ("openai", "voyage", "cohere", "vertex"),
    "input_type": ("voyage", "cohere"),
    "truncate": ("voyage", "cohere"),
    "model_revision": ("openai", "voyage", "cohere", "vertex"),
    "price_image": ("openai", "voyage", "cohere", "vertex"),
    "price_text": ("openai", "voyage", "cohere", "vertex"),
    "price_million_tokens": ("openai", "voyage", "cohere", "vertex"),
    "price_million_pixels": ("openai", "voyage", "cohere", "vertex"),
    "requests_per_minute": ("openai", "voyage", "cohere", "vertex"),
}


def require_fitting_options(options: WireOptions) -> None:
    """Refuses an option that the wire would not read, so that none is ignored. Raises BadInput."""
    for name, wires in _ONLY_OF.items():
        is_default = getattr(options, name) == type(options).model_fields[name].default
        if options.wire not in wires and not is_default:
            flag = f"--{name.replace('_', '-')}"
            message = f"{flag} has no meaning over the wire {options.wire}: leave it out"
            raise BadInput(message)


def wire_of(options: PurchaseOptions) -> Wire:
    """The foreign wire of these options. Raises BadInput for what it cannot use."""
    require_plain_url(options.vendor)
    if options.teacher is None:
        message = f"the wire {options.wire} needs the vendor's name of the model: --teacher NAME"
        raise BadInput(message)
    match options.wire:
        case "openai":
            return OpenAIWire(
                url=options.vendor,
                model=options.teacher,
                shape=options.input_shape,
                dimensions=options.dimensions,
                task=options.task,
            )
        case "voyage":
            _require_one_of(options.input_type, voyage.INPUT_TYPES, "--input-type")
            return voyage.VoyageWire(
                url=options.vendor,
                model=options.teacher,
                dimensions=options.dimensions,
                input_type=options.input_type,
                truncate=options.truncate,
            )
        case "cohere":
            _require_one_of(options.input_type, cohere.INPUT_TYPES, "--input-type")
            wire = cohere.CohereWire(
                url=options.vendor,
                model=options.teacher,
                dimensions=options.dimensions,
                input_type=options.input_type or cohere.DEFAULT_INPUT_TYPE,
                truncate=options.truncate,
            )
            if wire.takes_single_images and options.dimensions is not None:
                message = f"--dimensions: {options.teacher} has one size; embed-v4 has several"
                raise BadInput(message)
            return wire
        case "vertex":
            if "/locations/" not in options.vendor:
                message = (
                    "the wire vertex needs --vendor https://REGION-aiplatform.googleapis.com/v1/"
                    "projects/PROJECT/locations/REGION"
                )
                raise BadInput(message)
            _require_one_of(options.dimensions, vertex.DIMENSIONS, "--dimensions")
            return vertex.VertexWire(
                url=options.vendor, model=options.teacher, dimensions=options.dimensions
            )
        case "native":
            message = "the native wire needs no description"
            raise ValueError(message)


def _require_one_of(value: object, known: Sequence[object], flag: str) -> None:
    if value is not None and value not in known:
        message = f"{flag} {value}: this wire takes {', '.join(map(str, known))}"
        raise BadInput(message)


@asynccontextmanager
async def open_vendor(
    options: PurchaseOptions, key: SecretStr, *, timing: Timing | None = None
) -> AsyncIterator[Vendor]:
    """The vendor that these options name, closed when the block ends; sends nothing by itself.

    Raises BadInput as `student.vendor.client.connect` does, and for options that do not fit.
    """
    require_fitting_options(options)
    if options.wire == "native":
        connecting = connect(options.vendor, key, connections=options.concurrency, timing=timing)
        async with connecting as native:
            yield native
        return
    wire = wire_of(options)
    parts = urlsplit(wire.endpoint)
    origin = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    # A connection is used once: the vendor may close an idle one while a request is on its way, and
    # then nobody could say whether that request was charged.
    connecting_to = http_client(
        origin, key, connections=options.concurrency, reuses_connections=False
    )
    async with connecting_to as (http, proxy):
        yield WireClient(
            http,
            key,
            wire,
            model=wire_model(
                wire,
                options.teacher or "",
                dim=options.dimensions or 0,
                revision=options.model_revision,
            ),
            prices=own_prices(options),
            timing=timing,
            requests_per_minute=options.requests_per_minute,
            proxy=proxy,
        )
