"""`python -m tools.reference`: writes the generated pages under docs/reference/."""

from tools.reference.pages import FOLDER, pages


def main() -> None:
    """Writes every page; prints the names of those that changed."""
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
