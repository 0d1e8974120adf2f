"""Compares the public API of two states of this project.

The public API is what a namespace's `__all__` lists and what `common.errors` and `common.settings`
define. griffe reads the code without importing it and finds most breaking changes. This module
adds what griffe leaves out: `async`, decorators, overloads, types, defaults and constraints of
fields and settings, base classes and keywords of classes, names of block types, and from
`pyproject.toml` the extras, scripts, entry points and Python versions.
Types are compared as text, separately for each member of a union or `Literal`.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PUBLIC_IN_COMMON = ("errors", "settings")
TOLD_HERE = {"OBJECT_REMOVED", "RETURN_CHANGED_TYPE", "CLASS_REMOVED_BASE"}
"""Kinds of which griffe finds only some cases."""
RENAMED = "renamed to "
MAKERS = {"task", "flow", "materialize", "contextmanager", "asynccontextmanager"}
"""Decorators that turn a function into another object."""
CONSTRAINTS = {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern"}
CONSTRAINTS |= {"max_digits", "decimal_places", "allow_inf_nan", "strict", "frozen"}
"""Arguments of `pydantic.Field` that restrict values."""
BLOCK_TYPE = {"_block_type_name": "block type's name", "_block_type_slug": "block type's slug"}
"""Prefect's server finds saved blocks by these attributes."""


@dataclass(frozen=True)
class Change:
    """A change that users notice.

    Attributes:
        section: Section of the changelog: `Added`, `Changed`, `Deprecated` or `Removed`.
        name: What changed, such as `data.Download.size` or `data.download_data(max_bytes)`.
        text: What happened to it.
        breaks: Whether it may break users' code.
    """

    section: str
    name: str
    text: str
    breaks: bool

    def __str__(self) -> str:
        """Return a line for the changelog."""
        return f"- `{self.name}`: {self.text}"


def changes(old: Path, new: Path, package: str) -> list[Change]:
    """Compare two states of the project.

    Args:
        old: Folder of the older state.
        new: Folder of the newer state.
        package: Name of the package in their `src/`.

    Returns:
        The changes, without duplicates.
    """
    logging.getLogger("griffe").setLevel(logging.ERROR)
    before, after = _namespaces(old, package), _namespaces(new, package)
    for module in after.values():
        if not all(isinstance(one, str) for one in module.exports or ()):
            raise SystemExit(f"{module.canonical_path}: write __all__ as a plain list of names.")
    found = list(_of_packaging(_packaging(old), _packaging(new)))
    found += _of_names("", before, after)
    for name in sorted(before.keys() & after.keys()):
        for breakage in griffe.find_breaking_changes(before[name], after[name]):
            if breakage.kind.name not in TOLD_HERE:
                _, where, text = breakage.explain(griffe.ExplanationStyle.MARKDOWN).split("`", 2)
                where = f"{name}.{where.replace('.__init__(', '(')}"
                text = text.removeprefix(": ").replace("*", "")
                found.append(Change("Changed", where, text[0].lower() + text[1:], breaks=True))
        found += _of_members(before[name], after[name], name)
    # griffe reports a renaming as two changes.
    renamed = {change.name: change.text for change in found if change.text.startswith(RENAMED)}
    halves = {
        f"{name.rpartition('(')[0]}({text.removeprefix(RENAMED)[1:-1]})"
        for name, text in renamed.items()
    }
    return [
        change
        for change in dict.fromkeys(found)
        if change.name not in halves and renamed.get(change.name, change.text) == change.text
    ]


def overdue(source: Path, version: tuple[int, ...]) -> list[str]:
    """Return the texts in the code that say "removed in" with a version that is reached.

    Args:
        source: Folder of the code.
        version: The version, such as `(2, 0, 0)`.

    Returns:
        File, line and text of each.
    """
    return [
        f"{path.relative_to(source)}:{node.lineno}: {match[0]}: its time has come"
        for path in sorted(source.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for match in re.finditer(r"removed\s+in\s+v?(\d+)(?:\.(\d+))?", node.value)
        if (int(match[1]), int(match[2] or 0)) <= version[:2]
    ]


def _namespaces(project: Path, package: str) -> dict[str, Any]:
    """Return the public modules by their names below the package."""
    loaded: Any = griffe.load(
        package, search_paths=[project / "src"], allow_inspection=False, resolve_aliases=True
    )
    found = {name: module for name, module in loaded.modules.items() if module.exports is not None}
    for name in PUBLIC_IN_COMMON:
        with contextlib.suppress(KeyError):
            found[f"common.{name}"] = loaded[f"common.{name}"]
    for module in found.values():
        for inner in module.modules.values():
            inner.public = False  # the modules inside a namespace are private
    return found


def _packaging(project: Path) -> dict[str, Any]:
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]


def _of_packaging(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    extras = ({*one.get("optional-dependencies", ())} - {"dev"} for one in (old, new))
    yield from _of_names("the extra ", *extras)
    for kind, key in (("the script ", "scripts"), ("the script ", "gui-scripts")):
        yield from _of_names(kind, old.get(key, ()), new.get(key, ()))
    points = (
        [f"{group}.{name}" for group, ones in one.get("entry-points", {}).items() for name in ones]
        for one in (old, new)
    )
    yield from _of_names("the entry point ", *points)
    was, now = (one.get("requires-python", "") for one in (old, new))
    if was != now:
        text = f"was `{was or 'missing'}` and is `{now or 'missing'}`"
        # Only a smaller lower bound keeps all old versions.
        parts = [re.fullmatch(r"\s*>=\s*([\d.]+)(.*)", one) for one in (was, now)]
        lower = [(one[2], [*map(int, one[1].split("."))]) for one in parts if one]
        wider = not now or (
            len(lower) == 2 and lower[0][0] == lower[1][0] and lower[0][1] >= lower[1][1]
        )
        yield Change("Changed", "requires-python", text, breaks=not wider)


def _of_names(kind: str, old: Iterable[str], new: Iterable[str]) -> Iterator[Change]:
    for name in sorted({*old} - {*new}):
        yield Change("Removed", f"{name}", f"{kind}removed", breaks=True)
    for name in sorted({*new} - {*old}):
        yield Change("Added", f"{name}", f"{kind}new", breaks=False)


def _members(thing: Any) -> dict[str, Any]:
    """Return the public members of a module or a class by name."""
    found = {}
    for name, member in thing.all_members.items():
        try:
            if member.is_public and not (name.startswith("__") and member.is_attribute):
                found[name] = member.final_target if member.is_alias else member
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            if thing.is_module and name in (thing.exports or ()):
                found[name] = member  # from another package
    return found


def _of_members(old: Any, new: Any, where: str) -> Iterator[Change]:
    before, after = _members(old), _members(new)
    for name in before.keys() - after.keys() - {"__init__"}:
        yield Change("Removed", f"{where}.{name}", "removed", breaks=True)
    if "__init__" in before.keys() - after.keys():
        yield Change("Changed", where, "its `__init__` is removed", breaks=True)
    for name, now in after.items():
        path = f"{where}.{name}"
        was = before.get(name)
        if was is None:
            if name != "__init__":
                # griffe reports it for a dataclass (by `__init__`), but not for a pydantic model.
                needed = now.is_attribute and new.is_class and "__init__" not in new.all_members
                needed = needed and _default(now) is None and "property" not in now.labels
                needed = needed and not str(now.annotation).startswith("NotRequired")
                # Implementations lack the new member.
                needed |= "Protocol" in _bases(new) if new.is_class else False
                needed |= "abstractmethod" in now.labels
                # Unpacking expects fewer values.
                needed |= now.is_attribute and new.is_class and "NamedTuple" in _bases(new)
                yield Change("Added", path, "new", breaks=needed)
        elif was.is_alias or now.is_alias or was.kind is not now.kind:
            continue  # from another package, or reported by griffe
        elif now.is_class:
            yield from _of_deprecation(was, now, path)
            for base in sorted(_bases(was) - _bases(now)):
                if not base.startswith("_"):
                    yield Change("Changed", path, f"is no `{base}` any more", breaks=True)
            frozen = ["frozen=True" in str(_decorators(thing)) for thing in (was, now)]
            if frozen == [False, True]:
                yield Change("Changed", path, "is frozen now", breaks=True)
            if any("order=True" in one for one in _decorators(was)) and not any(
                "order=True" in one for one in _decorators(now)
            ):
                yield Change("Changed", path, "cannot be ordered any more", breaks=True)
            total = [str(thing.keywords.get("total", True)) for thing in (was, now)]
            if "TypedDict" in _bases(now) and total[0] != total[1]:
                yield Change("Changed", path, f"total is {total[1]} now", breaks=True)
            for key in sorted({*was.keywords, *now.keywords} - {"total"}):
                old_value, new_value = (str(one.keywords.get(key, "")) for one in (was, now))
                if old_value != new_value:
                    text = f"its `{key}` was {old_value or 'missing'}"
                    text += f" and is {new_value or 'missing'}"
                    yield Change("Changed", path, text, breaks=True)
            for key, what in BLOCK_TYPE.items():
                ones = [thing.members.get(key) for thing in (was, now)]
                texts = [_text(one.value) if one else "missing" for one in ones]
                if texts[0] != texts[1]:
                    text = f"its {what} was {texts[0]} and is {texts[1]}"
                    yield Change("Changed", path, text, breaks=True)
            yield from _of_members(was, now, path)
        elif now.is_function:
            yield from _of_deprecation(was, now, path)
            if "dataclass" not in new.labels or name != "__init__":  # generated from the fields
                yield from _of_function(was, now, path.removesuffix(".__init__"))
        elif now.is_attribute or now.is_type_alias:
            known = "dataclass" in new.labels or new.is_module
            yield from _of_attribute(was, now, path, with_default=not known)
    both = before.keys() & after.keys()
    order = [[name for name in one if name in both] for one in (before, after)]
    if order[0] != order[1] and new.is_class and "NamedTuple" in _bases(new):
        yield Change("Changed", where, "its fields have another order", breaks=True)
    if new.is_class and "StrEnum" not in _bases(new):
        old_autos, new_autos = (
            [n for n, one in members.items() if f"{getattr(one, 'value', '')}".endswith("auto()")]
            for members in (before, after)
        )
        for name in old_autos:
            if name in new_autos and new_autos.index(name) != old_autos.index(name):
                yield Change("Changed", f"{where}.{name}", "has another number", breaks=True)


def _of_deprecation(was: Any, now: Any, path: str) -> Iterator[Change]:
    old, new = (
        any(re.match(r"([\w.]+\.)?deprecated\(", one) for one in _decorators(thing))
        for thing in (was, now)
    )
    if new and not old:
        yield Change("Deprecated", path, "deprecated", breaks=False)
    old, new = (
        any(re.fullmatch(r"([\w.]+\.)?final", one) for one in _decorators(thing))
        for thing in (was, now)
    )
    if new and not old:
        yield Change("Changed", path, "is final now", breaks=True)
    if "abstractmethod" in now.labels - was.labels:
        yield Change("Changed", path, "is abstract now", breaks=True)


def _of_function(was: Any, now: Any, path: str) -> Iterator[Change]:
    if ("async" in was.labels) != ("async" in now.labels):
        text = "is async now" if "async" in now.labels else "is not async any more"
        yield Change("Changed", path, text, breaks=True)
    old, new = (
        {one.partition("(")[0].rpartition(".")[2] for one in _decorators(thing)} & MAKERS
        for thing in (was, now)
    )
    for one in sorted(old ^ new):
        text = f"is no {one} any more" if one in old else f"is a {one} now"
        yield Change("Changed", path, text, breaks=True)
    for one in {str(one.signature()) for one in was.overloads or ()}.difference(
        str(one.signature()) for one in now.overloads or ()
    ):
        yield Change("Changed", path, f"has no overload `{one}` any more", breaks=True)
    before, after = _types(was.returns), _types(now.returns)
    if before:
        for one in sorted(after - before) or (["anything"] if not after else []):
            yield Change("Changed", path, f"can return `{one}`", breaks=True)
    gone = [one for one in was.parameters if one.name not in now.parameters]
    come = [one for one in now.parameters if one.name not in was.parameters]
    if len(gone) == len(come) == 1:
        places = [
            (list(thing.parameters).index(one), one.kind, str(one.annotation), str(one.default))
            for thing, one in ((was, gone[0]), (now, come[0]))
        ]
        if places[0] == places[1]:
            text = f"{RENAMED}`{come[0].name}`"
            yield Change("Changed", f"{path}({gone[0].name})", text, breaks=True)
    known = {parameter.name: parameter for parameter in was.parameters}
    for parameter in now.parameters:
        name = f"{path}({parameter.name})"
        if parameter.name not in known:
            if not parameter.required:
                yield Change("Added", name, "new parameter", breaks=False)
            continue
        before, after = _types(known[parameter.name].annotation), _types(parameter.annotation)
        if before and after:
            for one in sorted(before - after if not after & {"Any", "object"} else ()):
                yield Change("Changed", name, f"does not take `{one}` any more", breaks=True)
            for one in sorted(after - before):
                yield Change("Changed", name, f"takes `{one}` too", breaks=False)
        elif after and not after & {"Any", "object"}:
            yield Change("Changed", name, f"takes only `{parameter.annotation}` now", breaks=True)


def _of_attribute(was: Any, now: Any, path: str, *, with_default: bool) -> Iterator[Change]:
    before, after = (_types(getattr(one, "annotation", None) or one.value) for one in (was, now))
    for one in sorted(before - after):
        yield Change("Changed", path, f"cannot be `{one}` any more", breaks=True)
    for one in sorted(after - before):
        # One more value of a `Literal` breaks no code that passes one.
        yield Change("Changed", path, f"can be `{one}`", breaks=not one.startswith("Literal["))
    if "writable" in was.labels and "writable" not in now.labels:
        yield Change("Changed", path, "cannot be set any more", breaks=True)
    aliases = [_aliases(thing.value) for thing in (was, now)]
    if aliases[0] != aliases[1]:
        text = f"its alias was {aliases[0] or 'missing'} and is {aliases[1] or 'missing'}"
        yield Change("Changed", path, text, breaks=True)
    old_bounds, new_bounds = _constraints(was.value), _constraints(now.value)
    for one in sorted(old_bounds - new_bounds):
        yield Change("Changed", path, f"`{one}` does not hold any more", breaks=False)
    for one in sorted(new_bounds - old_bounds):
        yield Change("Changed", path, f"`{one}` holds now", breaks=True)
    if with_default and (old := _default(was)) != (new := _default(now)):
        text = f"its default was {old or 'missing'} and is {new or 'missing'}"
        yield Change("Changed", path, text, breaks=old is not None)


def _aliases(value: Any) -> str:
    """Return the aliases of a pydantic field as written."""
    return ", ".join(sorted(str(one) for one in _keywords(value) if one.name.endswith("alias")))


def _constraints(value: Any) -> set[str]:
    """Return the constraints of a pydantic field as written."""
    return {str(one) for one in _keywords(value) if one.name in CONSTRAINTS}


def _keywords(value: Any) -> list[griffe.ExprKeyword]:
    """Return the keyword arguments of a call; an empty list for anything else."""
    if not isinstance(value, griffe.ExprCall):
        return []
    return [one for one in value.arguments if isinstance(one, griffe.ExprKeyword)]


def _default(attribute: Any) -> str | None:
    """Return a field's default as written, or None."""
    value = attribute.value
    if isinstance(value, griffe.ExprCall) and str(value.function).lower().endswith("field"):
        for argument in value.arguments:
            if not isinstance(argument, griffe.ExprKeyword):
                return str(argument)
            if argument.name in {"default", "default_factory"}:
                return str(argument.value)
        return None
    return None if value is None else str(value)


def _bases(thing: Any) -> set[str]:
    """Return the names of all base classes, direct and indirect."""
    names = {str(base).rpartition(".")[2] for base in thing.bases}
    return names.union(*(_bases(base) for base in thing.resolved_bases))


def _decorators(thing: Any) -> list[str]:
    """Return the decorators of a function or a class as written."""
    return [str(one.value) for one in getattr(thing, "decorators", ())]


def _types(written: Any) -> set[str]:
    """Return the members of a union type, with this package's aliases resolved."""
    if written is None:
        return set()
    if isinstance(written, griffe.ExprBinOp) and written.operator == "|":
        return _types(written.left) | _types(written.right)
    if isinstance(written, griffe.ExprSubscript):
        inner, kind = written.slice, str(written.left).rpartition(".")[2]
        ones = inner.elements if isinstance(inner, griffe.ExprTuple) else [inner]
        if kind == "Literal":
            return {f"Literal[{one}]" for one in ones}
        if kind in {"Union", "Optional"}:
            return set(["None"] if kind == "Optional" else ()).union(*map(_types, ones))
    named = _named(written)
    return {str(written)} if named is None else _types(named)


def _text(written: Any) -> str:
    """Return a text, with this package's names resolved."""
    if isinstance(written, griffe.ExprJoinedStr):
        return "".join(map(_text, written.values))
    if isinstance(written, griffe.ExprFormatted):
        return _text(written.value)
    named = _named(written)
    return str(written).strip("'\"") if named is None else _text(named)


def _named(written: Any) -> Any:
    """Return the value of a name that this package defines, or None."""
    first = written.first if isinstance(written, griffe.ExprAttribute) else written
    if isinstance(first, griffe.ExprName) and isinstance(first.parent, griffe.Object):
        with contextlib.suppress(KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            named: Any = first.parent.modules_collection[written.canonical_path]
            if named.is_attribute or named.is_type_alias:
                return named.value
    return None
