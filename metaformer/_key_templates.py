"""Names of weights as templates: `layers.{i}.blocks.{j}.attn.{rest}`.

`{i}`, `{j}` and `{k}` are numbers, `{rest}` is anything. `{i+1}` stands for the number after i, so
that counting from 1 on one side meets counting from 0 on the other; 0 does not fit it.
"""

from __future__ import annotations

import re
from functools import cache

_NUMBERS = "ijk"


def translate(key: str, source: str, target: str) -> str | None:
    """`target` filled with what `source` finds in `key`; None if it does not fit."""
    match = _pattern(source).fullmatch(key)
    if match is None:
        return None
    found = match.groupdict()
    text = target.replace("{rest}", found.pop("rest", ""))
    for name, digits in found.items():
        number = int(digits) - (f"{{{name}+1}}" in source)
        text = text.replace(f"{{{name}}}", str(number)).replace(f"{{{name}+1}}", str(number + 1))
    return text


@cache
def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for name in _NUMBERS:
        text = text.replace(rf"\{{{name}\+1\}}", rf"(?P<{name}>[1-9]\d*)")
        text = text.replace(rf"\{{{name}\}}", rf"(?P<{name}>\d+)")
    return re.compile(text.replace(r"\{rest\}", "(?P<rest>.+)"))
