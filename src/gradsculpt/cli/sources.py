"""What the package's own classes and tables say, read from their sources: nothing is imported, so it is there at once.

The sources are the only place where a setting, its type, its default and its description stand. Classes are told by
`Standin`s: of the same name, module, docstring and ancestors, with the signature of the class, but without its code.
"""

import ast
import builtins
import collections.abc
import inspect
import re
import typing
from functools import cache
from importlib import import_module
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Union

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT.name
_EMPTY: dict[str, Any] = {"dict": {}, "list": [], "tuple": ()}
_POSITIONAL, _KEYWORD = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
_OWN_TYPES = {"Path": Path, **{name: vars(typing)[name] for name in ("Any", "Literal", "ClassVar", "Union")}}


class Spelled(str):
    """A default that only the program can work out, as it is written in the source."""

    __slots__ = ()


class Made(NamedTuple):
    """An object that a source makes of one of the package's classes or functions: of what, and with which arguments."""

    target: Any
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.target.__name__}({', '.join(f'{key}={value}' for key, value in self.arguments.items())})"


class Standin(type):
    """A class or a function as its source tells it; the signature is read when it is asked for."""

    origin: "tuple[_Module, ast.ClassDef | ast.FunctionDef] | None"

    @property
    def __signature__(cls) -> Signature:
        ordered = sorted(_parameters(cls).values(), key=lambda each: each.kind)  # the dataclass' own order
        return Signature(ordered, __validate_parameters__=False)  # stand-ins are never called


class _Module:
    """The names of a module: what each is assigned, defined as or imported from."""

    def __init__(self, name: str) -> None:
        path = _ROOT.joinpath(*name.split(".")[1:])
        self.name, self.defined, self.imported = name, dict[str, list[ast.stmt]](), dict[str, tuple[str, str]]()
        self._read(ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_bytes()).body)

    def _read(self, body: list[ast.stmt]) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                    self.defined[name] = [node]
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    self.defined[name] = [node]
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    self._read([ast.Assign([name], each) for name, each in zip(names, values, strict=True)])
                case ast.AugAssign(target=ast.Name(id=name)):
                    self.defined[name].append(node)
                case ast.ImportFrom(module=str(module), names=aliases):
                    self.imported |= {alias.asname or alias.name: (module, alias.name) for alias in aliases}
                case ast.Import(names=aliases):
                    self.imported |= {alias.asname or alias.name: (alias.name, "") for alias in aliases}
                case ast.If():  # of TYPE_CHECKING
                    self._read(node.body)


_module = cache(_Module)


def value(path: str) -> Any:
    """Return what a name of a module of the package stands for: plain data, classes as `Standin`s, objects as `Made`.

    Example:
        >>> value("gradsculpt.evaluation.scorecard.FILE")
        'scorecard.json'
        >>> [cls.__name__ for cls in value("gradsculpt.attributions.SOLVERS")]
        ['DualAveraging', 'ProximalGradient']
    """
    module, _, name = path.rpartition(".")
    if not isinstance(found := _named(_module(module), name), Spelled):
        return found
    raise LookupError(path)


def real(standin: type) -> Any:
    """Return the class or function that a stand-in stands for, by its import; anything else as it is."""
    if not isinstance(standin, Standin):
        return standin
    target = import_module(standin.__module__.split(":")[0])
    return getattr(target, standin.__name__)


def summary(target: Any) -> str:
    """Return the first line of a docstring; empty if there is none."""
    return (target.__doc__ or "").strip().partition("\n")[0]


def told(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and its ancestors say of its arguments, each on one line."""
    above = told(cls.__base__) if isinstance(cls.__base__, Standin) else {}
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", inspect.cleandoc(cls.__doc__ or "") + "\n", re.MULTILINE)
    entries = re.split(r"^    (?=\w[\w, ]*:)", section[1], flags=re.MULTILINE)[1:] if section else []
    pairs = (entry.partition(":") for entry in entries)
    return above | {name: " ".join(text.split()) for names, _, text in pairs for name in names.split(", ")}


@cache
def _standin(module: str, name: str) -> Any:
    """Return the stand-in of a class or a function that a module of the package defines."""
    home = _module(module)
    (node,) = home.defined[name]
    bases: list[type] = []
    if isinstance(node, ast.ClassDef):
        known = (_hint(base.value if isinstance(base, ast.Subscript) else base, home) for base in node.bases)
        bases = [base for base in known if isinstance(base, Standin) and base.origin]
    doc = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None
    made = Standin(name, tuple(bases), {"__module__": module, "__doc__": doc})
    made.origin = (home, node)  # type: ignore[assignment]
    return made


@cache
def _foreign(module: str, name: str) -> Any:
    """Return the stand-in of what is not the package's own: a name and where it comes from."""
    made = Standin(name, (), {"__module__": module})
    made.origin = None
    return made


def _named(module: _Module, name: str) -> Any:
    if name in module.defined:
        first, *more = module.defined[name]
        if isinstance(first, ast.ClassDef | ast.FunctionDef):
            return _standin(module.name, name)
        text = first.value if isinstance(first, ast.Assign | ast.AnnAssign) else None
        whole = () if text is None else _value(text, module)
        for node in more:
            whole += _value(node.value, module)  # type: ignore[attr-defined]
        return whole
    if name in module.imported:
        home, original = module.imported[name]
        if home.partition(".")[0] == _PACKAGE and original:
            return _named(_module(home), original)
    return Spelled(name)


def _value(node: ast.expr, module: _Module) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    match node:
        case ast.Tuple(elts=items):
            inner = [_value(item.value if isinstance(item, ast.Starred) else item, module) for item in items]
            pairs = zip(items, inner, strict=True)
            return tuple(one for item, each in pairs for one in (each if isinstance(item, ast.Starred) else (each,)))
        case ast.List(elts=items):
            return [_value(item, module) for item in items]
        case ast.Name(id=name):
            return _named(module, name)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if isinstance(target := _named(module, name), Standin):
                given = {keyword.arg: _value(keyword.value, module) for keyword in keywords if keyword.arg}
                bound = target.__signature__.bind_partial(*(_value(arg, module) for arg in args), **given)
                return Made(target, dict(bound.arguments))
    return Spelled(ast.unparse(node))


def _parameters(cls: Standin) -> dict[str, Parameter]:
    if not cls.origin:
        return {}
    module, node = cls.origin
    if isinstance(node, ast.FunctionDef):
        return _arguments(node.args, module)
    making = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    if making:
        arguments = _arguments(making[0].args, module)
        return {name: each for i, (name, each) in enumerate(arguments.items()) if i}
    parameters: dict[str, Parameter] = {}
    for base in reversed(cls.__bases__):
        if isinstance(base, Standin):
            parameters |= _parameters(base)
    decorated = [text for decorator in node.decorator_list if "dataclass" in (text := ast.unparse(decorator))]
    kind = _KEYWORD if any("kw_only=True" in text for text in decorated) else _POSITIONAL
    for each in node.body if decorated else ():
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            if ast.unparse(each.annotation) == "KW_ONLY":
                kind = _KEYWORD
            elif field := _field(each, module, kind):
                parameters[field.name] = field
    return parameters


def _field(node: ast.AnnAssign, module: _Module, kind: Any) -> Parameter | None:
    hint = _hint(node.annotation, module)
    if hint is ClassVar or typing.get_origin(hint) is ClassVar:
        return None
    default: Any = Parameter.empty if node.value is None else _value(node.value, module)
    if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "field":
        given = {keyword.arg: keyword.value for keyword in node.value.keywords}
        plain = {name: ast.literal_eval(given[name]) for name in ("init", "kw_only") if name in given}
        if not plain.get("init", True):
            return None
        kind = (_KEYWORD if plain["kw_only"] else _POSITIONAL) if "kw_only" in plain else kind
        default = Parameter.empty
        if "default" in given:
            default = _value(given["default"], module)
        elif "default_factory" in given:
            factory = _value(given["default_factory"], module)
            default = (
                Made(factory, {}) if isinstance(factory, Standin) else _EMPTY.get(factory, Spelled(f"{factory}()"))
            )
    name = typing.cast(ast.Name, node.target).id
    return Parameter(name, kind, default=default, annotation=hint)


def _arguments(node: ast.arguments, module: _Module) -> dict[str, Parameter]:
    named = [*node.posonlyargs, *node.args]
    defaults = [*[None] * (len(named) - len(node.defaults)), *node.defaults, *node.kw_defaults]
    return {
        each.arg: Parameter(
            each.arg,
            _KEYWORD if each in node.kwonlyargs else _POSITIONAL,
            default=Parameter.empty if default is None else _value(default, module),
            annotation=Any if each.annotation is None else _hint(each.annotation, module),
        )
        for each, default in zip([*named, *node.kwonlyargs], defaults, strict=True)
    }


def _hint(node: ast.expr, module: _Module) -> Any:
    """Return the type that an annotation spells, with `Standin`s for all classes but those of Python itself."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return _hint(ast.parse(text, mode="eval").body, module)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_hint(left, module), _hint(right, module)]  # noqa: UP007
        case ast.Subscript(value=outer, slice=inner):
            return _subscripted(_hint(outer, module), inner, module)
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return _foreign(".".join(filter(None, module.imported.get(name, (name, "")))), attribute)
        case ast.Name(id=name):
            return _named_hint(name, module)
    return Any


def _named_hint(name: str, module: _Module) -> Any:
    if name in module.imported and module.imported[name][0].partition(".")[0] != _PACKAGE:
        plain = _OWN_TYPES.get(name, getattr(collections.abc, name, None))
        return _foreign(*module.imported[name]) if plain is None else plain
    if name not in module.defined and name not in module.imported:
        return getattr(builtins, name, Any)
    home, original = module, name
    while original in home.imported and home.imported[original][0].partition(".")[0] == _PACKAGE:
        home, original = _module(home.imported[original][0]), home.imported[original][1]
    if original not in home.defined:
        return _named_hint(original, home) if original in home.imported else Any
    (node,) = home.defined[original]
    if isinstance(node, ast.ClassDef):
        return _standin(home.name, original)
    alias = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return Any if alias is None else _hint(alias, home)


def _subscripted(outer: Any, inner: ast.expr, module: _Module) -> Any:
    if isinstance(outer, Standin) or outer is Any:
        return outer
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer is Literal:
        return Literal[tuple(ast.literal_eval(item) for item in items)]
    if outer is collections.abc.Callable:
        return collections.abc.Callable[..., Any]
    kinds = [Ellipsis if ast.unparse(item) == "..." else _hint(item, module) for item in items]
    return outer[tuple(kinds)] if len(kinds) > 1 else outer[kinds[0]]
