"""Numbers as a reader wants to see them: real minus signs, en dashes, no false precision."""

import math
import re

from medrobust.wording import plural as plural

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
BRANCHES = {
    "single": "",
    "clean": "clean branch",
    "adv": "adversarial branch",
    "mean": "mean of both branches",
    "router": "router",
}


def number(value: float | None, digits: int = 3) -> str:
    """`0.932`; an en dash where there is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:z.{digits}f}".replace("-", MINUS)  # z: no minus before zero


def signed(value: float | None, digits: int = 3) -> str:
    """`+0.021`, for differences."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:+.{digits}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`0.905-0.951` with an en dash, for positive numbers; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    joint = " to " if number(low, digits).startswith(MINUS) else DASH
    return f"{number(low, digits)}{joint}{number(high, digits)}"


def signed_interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`-0.038 to -0.004`, for differences; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def has_no_width(low: float | None, high: float | None) -> bool:
    """Whether an interval is one point but for rounding, as where every resample is alike."""
    return low is not None and high is not None and math.isclose(low, high, abs_tol=1e-9)


def p_value(p: float | None) -> str:
    """`0.034`, and `< 0.001` below that."""
    if p is None or not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(n: float | None) -> str:
    """`22,433`."""
    return DASH if n is None or not math.isfinite(n) else f"{int(n):,}"


def percent(share: float) -> str:
    """`35 %`, with a space that does not break."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def epsilon(eps: float, norm: str = "linf") -> str:
    """`4/255` where the radius is in grey levels, the plain number for other norms."""
    if norm not in ("", "linf"):
        return f"{eps:.4g} ({norm})"
    return f"{255 * eps:.4g}/255"


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def enumeration(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def unbroken(sentence: str) -> str:
    """The sentence with no line break inside an interval, an equation or a percentage."""
    joined = re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", sentence)
    glued = r" (?=[=<] )|(?<= [=<]) |(?<=\d) (?=%)|(?<=\bp) (?=\(Holm\))"
    return re.sub(glued, "\N{NO-BREAK SPACE}", joined)


def branch_name(branch: str) -> str:
    """`clean branch`; empty for the only branch of a single-norm network."""
    return BRANCHES.get(branch, f"{branch} branch")
