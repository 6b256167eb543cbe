"""The report page: one HTML file that needs nothing else and lets nothing in.

Whatever a model or a data set wrote is text here, never markup: the template escapes it, the JSON
for the page's script holds no `<`, the script writes `textContent`, and the page's policy admits
that one script and one style sheet by their digests and forbids all else but `data:` images.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from genixer.report.charts import Plot, loss_plot, precision_recall, reliability_plot
from genixer.report.model import THRESHOLDS, Page
from genixer.report.statistics import tiles

__all__ = ["render"]


def render(page: Page) -> str:
    """The page as HTML; the same `page` always gives the same text.

    >>> "<h1>a &lt;b&gt; c</h1>" in render(Page(title="a <b> c", digest="0"))
    True
    """
    style, script = _own("page.css"), _own("page.js")
    policy = _policy(style, script)
    environment = Environment(
        loader=PackageLoader("genixer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    curve = precision_recall(page.judge) if page.judge else None
    data = _data(page, curve)
    # Our own files, whose digests are in the policy, and JSON without a `<`: nothing to escape.
    style, script, data = (Markup(text) for text in (style, script, data))  # nosec B704
    return environment.get_template("page.html").render(
        page=page,
        policy=policy,
        style=style,
        script=script,
        data=data,
        tiles=tiles(page),
        curve=curve,
        reliability=reliability_plot(page.judge) if page.judge else None,
        losses=[(one.step, loss_plot(one)) for one in page.curves if one.points],
    )


def _own(name: str) -> str:
    return files("genixer.report").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _data(page: Page, curve: Plot | None) -> str:
    judge: dict[str, Any] | None = None
    if page.judge and curve:
        judge = {
            "score": page.judge.score,
            "threshold": page.judge.threshold,
            "thresholds": THRESHOLDS,
            "passing": page.judge.passing,
            "frame": curve.frame,
        }
    text = msgspec.json.encode({"gallery": page.gallery, "judge": judge}).decode()
    # In JSON a `<` stands inside strings only, so this is the same data; it can close no element.
    return text.replace("<", "\\u003c")
