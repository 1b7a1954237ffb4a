"""The reference of the recipes: each file with its source, what it is for, and its settings."""

from pathlib import Path

from gradsculpt.cli.known import RECIPES


def pages(folder: Path) -> dict[str, str]:
    """Return the page of the recipes."""
    files = sorted(RECIPES.glob("*.yaml"))
    lead = (
        "# Recipes\n\nAfter this page you know what each recipe trains, where its numbers come from, and where it is "
        "not what the source has. `gradsculpt train --recipe NAME` trains one, `NAME+OTHER` joins two, and an option "
        "overrides a setting. Recipes whose first line says that they follow a method hold a training alone: "
        "optimiser, schedule, batch size, augmentation.\n"
    )
    return {"recipes.md": "\n".join([lead, *map(_entry, files)])}


def _entry(path: Path) -> str:
    """Return what one file says: its comment as text, its settings as they stand."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    settings = "\n".join(line for line in lines if not line.startswith("#")).strip()
    told = _paragraphs([line.lstrip("# ").rstrip() for line in head])
    block = f"```yaml\n{settings}\n```\n" if settings else "It has the product's own settings.\n"
    return f"## {path.stem}\n\n{told}\n\n{block}"


def _paragraphs(lines: list[str]) -> str:
    """Return the comment of a recipe, whose entries (Source, Use) begin a paragraph each; a command stands in code."""
    out = list[str]()
    for line in lines:
        if line.startswith("Use: "):
            line = f"Use: `{line.removeprefix('Use: ')}`"
        elif "`" not in line:
            line = line.replace("*", r"\*").replace("_", r"\_")
        out += ["", line] if line.startswith(("Source:", "Use:", "Deviation:")) else [line]
    return "\n".join(out)
