"""The body that asks for embeddings: OpenAI's shape, with images."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from teacher_server.api.schemas import RequestModel

_EXAMPLE_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4"
    "z8AAAAMBAQAY3Y2wAAAAAElFTkSuQmCC"
)


class TextPart(RequestModel):
    """A text to embed; `type` may be given as in OpenAI's content parts."""

    text: str
    type: Literal["text", "input_text"] | None = None


class ImagePart(RequestModel):
    """An image to embed: a data-URI or bare base64 of a JPEG, PNG, WEBP, GIF or BMP file."""

    image: str
    type: Literal["image"] | None = None


class ImageUrl(RequestModel):
    """An image as a data-URI. Addresses are refused and never fetched; `detail` is ignored."""

    url: str
    detail: str | None = None


class ImageUrlPart(RequestModel):
    """An image to embed, in the form of OpenAI's content parts."""

    image_url: str | ImageUrl
    type: Literal["image_url", "input_image"] | None = None
    detail: str | None = Field(default=None, description="Ignored.")

    @property
    def image(self) -> str:
        """The data-URI or base64."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


InputItem = str | TextPart | ImagePart | ImageUrlPart


class EmbeddingRequest(RequestModel):
    """What to embed; one item is one query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "embedded", "input": "a photo of a dog"},
                {
                    "model": "embedded",
                    "input": [{"image": _EXAMPLE_IMAGE}, {"text": "a photo of a dog"}],
                    "encoding_format": "base64",
                },
            ]
        }
    )

    model: str = Field(description="Model id, as in GET /v1/models.")
    input: str | list[InputItem] = Field(
        description="One string, or 1 to max_items items. A string is a text, or, as a data-URI of "
        "an image, that image. Other strings that hold or name an image are refused."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="float is the default; base64 is little-endian float32."
    )
    dimensions: int | None = Field(default=None, description="Must be the model's own, if given.")
    user: str | None = Field(default=None, description="Ignored.")
    modality: Literal["text", "image"] | None = Field(
        default=None,
        description="What plain strings are: with `image`, images as base64 or data-URIs; with "
        "`text`, texts.",
    )
    truncate: bool | None = Field(
        default=None,
        description="With true, a text with more tokens than the model's context_length is cut "
        "there, and the answer's `truncated` names it. Otherwise it is refused, free of charge.",
    )
