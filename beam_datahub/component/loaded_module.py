"""Users' Python modules: found when a spec is compiled, shipped as text, loaded where they run."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from beam_datahub.errors import InvalidValue, StepFailed, UnknownName

_loading = threading.Lock()


@dataclass(frozen=True)
class UserFunction:
    """A function of a user's module: `module` is a dotted name, or the path of the file whose text is `source`."""

    module: str
    function: str
    source: str | None = None

    def load(self) -> Callable[..., Any]:
        """The function itself; its module runs once per process. Raises StepFailed."""
        try:
            module = importlib.import_module(self.module) if self.source is None else _executed(self.module, self.source)
            found = getattr(module, self.function)
        except (Exception, SystemExit) as error:
            raise StepFailed(
                f"the module '{self.module}' does not load: {type(error).__name__}: {error}",
                hint="a worker needs every package that the module imports",
            ) from error
        if not callable(found):
            raise StepFailed(f"'{self.function}' of the module '{self.module}' is no function")
        return found  # type: ignore[no-any-return]


def find_function(module: str, function: str, path: str | None) -> UserFunction:
    """`function` of the file `path`, or of the module of a dotted name; nothing of it runs. Raises InvalidValue, UnknownName."""
    if path is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            raise InvalidValue(f"there is no module '{module}'", hint="install it, or give the path of a .py file")
        if spec.origin is None or not spec.origin.endswith(".py"):
            return UserFunction(module, function)
        _check_defined(Path(spec.origin), function)
        return UserFunction(module, function)
    return UserFunction(module, function, _check_defined(Path(path), function))


def written_function(code: str, function: str) -> UserFunction:
    """`function` of a module whose text is `code`. Raises InvalidValue, UnknownName."""
    _check_text(code, "the code", function)
    return UserFunction("code", function, code)


def _check_defined(path: Path, function: str) -> str:
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no UTF-8 text"
        raise InvalidValue(f"cannot read the module '{path}': {reason}") from error
    _check_text(source, f"'{path}'", function)
    return source


def _check_text(source: str, name: str, function: str) -> None:
    """Raises unless the module text binds `function` at its top."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise InvalidValue(
            f"{name} is no Python: {getattr(error, 'msg', error)}" + (f" in line {line}" if line else "")
        ) from error
    names = set(_bound(tree.body))
    if function not in names and "*" not in names:
        raise UnknownName("function", function, sorted(names))


def _bound(body: list[ast.stmt]) -> list[str]:
    """The names that statements bind, also inside `if` and `try`."""
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name) for alias in statement.names]
        else:
            targets = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
            names += [node.id for node in targets]
            for part in ("body", "orelse", "finalbody"):
                names += _bound(getattr(statement, part, []))
    return names


def _executed(path: str, source: str) -> ModuleType:
    # Equal text is one module, so that several steps that use it share its state as they would after an import.
    name = f"beam_datahub_user_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    with _loading:
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        module.__file__ = path
        sys.modules[name] = module
        try:
            exec(compile(source, path, "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return module
