"""Numbers with units and separators, and text from anywhere made fit to be shown."""

from __future__ import annotations

import math
import re
import unicodedata

NOTHING = "–"
JOINERS = "\u00ad\u200c\u200d"  # format characters that ordinary words and emoji need


def integer(value: float | None) -> str:
    """``12345`` as ``12,345``."""
    return NOTHING if value is None else f"{value:,.0f}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of digits after the point, true minus sign."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """Like ``decimal``, with a plus sign where the number is positive."""
    text = decimal(value, digits)
    return "+" + text if value is not None and value > 0 else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as ``41.2 %``."""
    return NOTHING if value is None else decimal(100 * value, digits) + "\u00a0%"


def significant(value: float | None, digits: int = 3) -> str:
    """A number of any size with about ``digits`` significant digits."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return decimal(value)
    size = abs(value)
    if size >= 10 ** (digits - 1) or value == int(value):
        return decimal(value, 0)
    if size >= 1e-4:
        places = digits - 1 - math.floor(math.log10(size))
        text = f"{value:.{places}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    return scientific(value)


def scientific(value: float) -> str:
    """``0.00006`` as ``6×10⁻⁵``."""
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.removesuffix('.0').replace('-', '−')}×10{raised}"


def large(value: float | None) -> str:
    """A count in words where it is large: ``6.31 million``."""
    if value is None:
        return NOTHING
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.3g}\u00a0{name}"
    return integer(value)


def size(value: float | None) -> str:
    """Bytes with a decimal unit: ``48.2 MB``."""
    if value is None:
        return NOTHING
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}\u00a0{name}" if value / unit < 1000 else f"{value / unit:,.0f}\u00a0{name}"
    return f"{value:,.0f}\u00a0bytes"


def duration(seconds: float | None) -> str:
    """Seconds as ``0.4 s``, ``42 s``, ``9 min 12 s`` or ``2 h 3 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600:,}\u00a0h {whole % 3600 // 60}\u00a0min"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """``1.900 to 1.960``, or nothing where there is none."""
    return "" if low is None or high is None else f"{decimal(low, digits)} to {decimal(high, digits)}"


def p_value(value: float | None) -> str:
    """``p = 0.012``, or a bound where it is tiny."""
    if value is None:
        return "no p value"
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.4f}" if value < 0.01 else f"p = {value:.3f}"


def moment(text: str) -> str:
    """``2026-11-23T08:32:33+00:00`` as ``2026-11-23 08:32 UTC``; anything else as it stands."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?(?:\+00:00|Z)", text)
    return f"{match[1]} {match[2]} UTC" if match else clip(text, 40)


def plural(count: float, one: str, many: str | None = None) -> str:
    """``1 document``, ``2 documents``, with separators."""
    return f"{count:,.0f}\u00a0{one if count == 1 else many or one + 's'}"


def listing(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def visible(text: str) -> str:
    """The text with everything that would act instead of show (controls, direction overrides, lone surrogates) named.

    Line breaks and tabs stay; ``U+202E`` becomes ``⟨U+202E⟩``. The result always encodes as UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text.replace("\r\n", "\n"))


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    code = ord(character)
    category = unicodedata.category(character)
    acts = category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and character not in JOINERS)
    nothing = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return f"⟨U+{code:04X}⟩" if acts or nothing else character


def clip(text: str, limit: int = 160) -> str:
    """At most ``limit`` characters; what is cut off is said with the full length."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def label(text: str, limit: int = 48) -> str:
    """A name in one short line: beginning and end where it is too long."""
    flat = " ".join(visible(text).split()) or "(no name)"
    if len(flat) <= limit:
        return flat
    return f"{flat[: limit * 2 // 3]}…{flat[-(limit // 3 - 1) :]}"
