"""Makes Copier's repeated work in one process cheap, without a change of what it does.

An update renders three projects, and Copier compiles each part of each path anew and parses
`copier.yml` with the slow one of PyYAML's parsers. Hundreds of updates in one process spend
half of their time on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2.sandbox
import yaml

if TYPE_CHECKING:
    import pytest

OPTIONS = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix"),
    *("line_comment_prefix", "newline_sequence"),
    *("trim_blocks", "lstrip_blocks", "keep_trailing_newline", "autoescape", "optimized"),
)
"""What the code made from a source depends on."""


def speed_up_copier(patch: pytest.MonkeyPatch) -> None:
    """Compile each Jinja source once, and parse YAML with libyaml.

    Args:
        patch: Takes the change back at the end.
    """
    compile_ = jinja2.sandbox.SandboxedEnvironment.compile
    compiled: dict[tuple[Any, ...], Any] = {}

    def compile_once(
        self: jinja2.Environment,
        source: str | jinja2.nodes.Template,
        name: str | None = None,
        filename: str | None = None,
        **more: Any,
    ) -> Any:
        if not isinstance(source, str) or more:
            return compile_(self, source, name, filename, **more)
        options = tuple(getattr(self, option) for option in OPTIONS)
        key = (source, name, options, tuple(self.extensions), tuple(self.filters))
        if key not in compiled:
            compiled[key] = compile_(self, source, name, filename)
        return compiled[key]

    patch.setattr(jinja2.sandbox.SandboxedEnvironment, "compile", compile_once)
    patch.setattr(yaml, "SafeLoader", yaml.CSafeLoader)
