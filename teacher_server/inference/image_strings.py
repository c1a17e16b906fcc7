"""Recognises images that arrive as strings, so that none is embedded as a text."""

from __future__ import annotations

import base64
import re
from typing import Final

ACCEPTED_FORMS: Final = (
    'send an image as a data-URI ("data:image/png;base64,…"), as {"image": "…"} with a data-URI or '
    'base64, as {"type": "image_url", "image_url": {"url": "data:…"}}, or as a string of base64 '
    'with "modality": "image"'
)

# The scheme, the media type and the parameters are case-insensitive (RFC 2397, RFC 3986). Without
# a type, there must be a parameter: "data:, or so" is a text.
DATA_URI: Final = re.compile(
    r"\s*data:\s*(?:(?P<type>[\w.+-]+/[\w.+*-]+)(?P<parameters>(?:;[^,;]{0,200}){0,9})"
    r"|(?P<untyped>(?:;[^,;]{0,200}){1,9})),",
    re.IGNORECASE,
)
_IMAGE_URI_WITHIN: Final = re.compile(
    r"data:\s*image/[\w.+-]{1,100}\s*(?:;[^,;\s]{1,200}){0,9};\s*base64", re.IGNORECASE
)
# A string that is nothing but an address or the name of a file.
_ADDRESS: Final = re.compile(r"\s*(?:https?|ftps?|file|s3|gs|blob)://\S+\s*", re.IGNORECASE)
_FILE_NAME: Final = re.compile(
    r"\s*\S+\.(?:png|apng|jpe?g|jpe|jfif|webp|gif|bmp|dib|tiff?|avif|hei[cf]|jp2|j2k|jxl|svg|ico)\s*",
    re.IGNORECASE,
)
# What is left of a data-URI may stand before the base64, and quotes around it.
_BASE64: Final = re.compile(
    r"[\s'\"(<]*+(?:[\w/.+;=:-]{0,200}base64,)?(?P<head>(?:\s*[A-Za-z0-9+/_-]){4,88})"
)
# No word is as long and mixes capitals, small letters and digits.
_LONG_BASE64: Final = re.compile(
    r"(?=[^a-z]{0,999}[a-z])(?=[^A-Z]{0,999}[A-Z])(?=\D{0,999}\d)(?:[\r\n]*[A-Za-z0-9+/_-]){100}"
)
_URL_SAFE: Final = str.maketrans("-_", "+/")
# The first bytes of image files, and of a few others that are sent by mistake. Signatures of two
# bytes are completed by what a header holds after them, because a word may begin with them.
_SIGNATURE: Final = re.compile(
    rb"\x89PNG|[\x8a\x8b][MJ]NG|\xff\xd8\xff|GIF8|RIFF(?:.{4}WEBP|.{0,7}\Z)|II[*+]\x00|MM\x00[*+]"
    rb"|BM.{4}\x00{4}|.{4}ftyp|\x00{3}\x0c(?:jP|JX)|\xff\x4f\xff\x51|\xff\x0a.{10}|8BPS|qoif|icns"
    rb"|\x00{2}[\x01\x02]\x00[^\x00]\x00.{10}|DDS |FLIF|BPG\xfb|gimp xcf|\x76\x2f\x31\x01"
    rb"|P[1-7]\s(?:\d|\#|WIDTH)|\x0a[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08].{8}"
    rb"|\x01\xda[\x00\x01][\x01\x02].{8}|IIR[OS]|IIU\x00|FUJIFILM|SIMPLE  |\xd7\xcd\xc6\x9a"
    rb"|\x01\x00{3}.{36} EMF|%PDF|%!PS|\#\?RADIANCE"
    rb"|(?:\xef\xbb\xbf)?\s{0,9}<(?:svg|\?xml|!DOCTYPE)",
    re.DOTALL,
)


def is_data_uri(text: str) -> bool:
    """Whether a string begins as a data-URI of any media type does."""
    return DATA_URI.match(text) is not None


def image_in_text(text: str) -> str:
    """What makes a text an image in disguise, as the end of a sentence; "" for a real text.

    That is a text that holds a data-URI of an image, or that is base64 of an image file: of any
    length, wrapped, in the URL-safe alphabet, or with the rest of a data-URI before it. Base64 of
    other files is recognised by its length.
    """
    if _IMAGE_URI_WITHIN.search(text):
        return "is sent as a text and holds a data-URI of an image"
    found = _BASE64.match(text)
    if found is not None and _SIGNATURE.match(_decoded(found["head"])):
        return "is sent as a text and looks like the base64 of an image file"
    return "is sent as a text and looks like base64" if _LONG_BASE64.match(text) else ""


def names_an_image(text: str) -> str:
    """What a string names instead of holding it, as the end of a sentence; "" for other strings."""
    if _ADDRESS.fullmatch(text):
        return "is an address, which is never fetched"
    return "is the name of an image file, not an image" if _FILE_NAME.fullmatch(text) else ""


def _decoded(head: str) -> bytes:
    characters = "".join(head.split()).translate(_URL_SAFE)
    # A lone last character holds no byte.
    characters = characters[: len(characters) - (len(characters) % 4 == 1)]
    return base64.b64decode(characters + "=" * (-len(characters) % 4))
