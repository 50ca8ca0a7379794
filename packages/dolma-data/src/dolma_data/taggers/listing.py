"""What ``dolma-data list`` prints."""

from __future__ import annotations

from .registry import find_tagger, refused_names, tagger_names


def describe_taggers() -> str:
    """All taggers with what they compute, their types, source and needs; then those of allenai/dolma left out."""
    lines: list[str] = []
    for name in tagger_names():
        entry = find_tagger(name)
        about = [f"    {entry.about}"] if entry.about else []
        lines += [name, *about, f"    types: {', '.join(entry.types)}", f"    source: {entry.source}"]
        if entry.need is not None:
            use = f"for {', '.join(entry.need.without)}" if entry.need.without else "reads"
            otherwise = f" ({entry.need.otherwise})" if entry.need.otherwise else ""
            lines.append(f"    {use}: {entry.need.what}, --resources.{name} FILE{otherwise}")
        if entry.extra is not None:
            lines.append(f"    needs: pip install 'dolma-data[{entry.extra}]'")
        if entry.differences:
            lines.append(f"    other than allenai/dolma: {', '.join(entry.differences)} (docs/dolma-differences.md)")
    refused = refused_names()
    if refused:
        lines += ["", "Not offered:"]
        lines += [f"{name}\n    {reason}" for name, reason in refused.items()]
    return "\n".join(lines)
