"""How the vendor is spoken to, and what it charges where it does not say so itself."""

from __future__ import annotations

from typing import Literal

from student.options.section import Count, Positive, Section, option

WireName = Literal["native", "openai", "voyage", "cohere", "vertex"]
InputShape = Literal["modality", "objects", "strings", "messages"]


class WireOptions(Section):
    """The wire to a vendor.

    None of these identifies a run by itself: what changes an embedding is in the fingerprint of the
    model, and so in the name of every embedding that a student is made from.
    """

    wire: WireName = option(
        "native",
        "how the vendor is spoken to: this project's own API (native), /v1/embeddings (openai), "
        "/v1/multimodalembeddings (voyage), /v2/embed (cohere) or multimodalembedding:predict "
        "(vertex)",
        identifies=False,
    )
    input_shape: InputShape = option(
        "modality",
        "input of the openai wire: data-URIs or texts with a modality field (infinity), "
        "{image} and {text} objects (objects: Jina), bare strings (strings), or one chat message a "
        "request (messages: vLLM)",
        identifies=False,
    )
    dimensions: Positive | None = option(
        None,
        "numbers in an embedding to ask for (Matryoshka); without it, the vendor's default",
        identifies=False,
    )
    input_type: str | None = option(
        None,
        "what the vendor is told the input is, for which it may prepend a prompt: voyage, query or "
        "document (without it, no prompt); cohere, its input_type (without it, search_document)",
        identifies=False,
    )
    task: str | None = option(
        None, "task of the openai wire (Jina); without it, none is sent", identifies=False
    )
    truncate: bool = option(
        False,
        "let the vendor cut texts that are too long for it (voyage, cohere); otherwise it refuses "
        "them",
        identifies=False,
    )
    model_revision: str = option(
        "",
        "your own name for the state of a vendor's model; another one starts anew, and buys "
        "everything again, after the model has changed",
        identifies=False,
    )
    price_image: Count = option(
        0, "your vendor's price of an image, in micro-USD (not native)", identifies=False
    )
    price_text: Count = option(
        0, "your vendor's price of a text, in micro-USD (not native)", identifies=False
    )
    price_million_tokens: Count = option(
        0, "your vendor's price of a million tokens, in micro-USD (not native)", identifies=False
    )
    price_million_pixels: Count = option(
        0, "your vendor's price of a million pixels, in micro-USD (not native)", identifies=False
    )
    requests_per_minute: Count = option(
        0, "most requests in a minute; 0 sets no limit (not native)", identifies=False
    )
