"""Code of cards: found, hashed without running it, and imported.

A card names its code by ``module``: a short name for a module of probekit; ``package.module`` or
``package.module:Class`` for any installed package; or ``network.py:Class``, a Python file relative
to the card. Cards that come with probekit use short names only.
"""

import ast
import hashlib
import pkgutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType

from probekit.cards import loader
from probekit.cards.schema import ExtractorCard, TaskCard
from probekit.errors import CardError
from probekit.utils.suggest import did_you_mean

_START = time.time()
_imported: dict[Path, str] = {}  # files that this process imported, with their hashes


def split_module(card: ExtractorCard | TaskCard) -> tuple[str, str]:
    """Return what a card's ``module`` names: a module or a file, and the class, if any."""
    name, _, attribute = card.module.partition(":")
    return name, attribute


def is_file(name: str) -> bool:
    """Tell whether a card's ``module`` names a Python file instead of a module."""
    return name.endswith(".py")


def code_file(card: ExtractorCard | TaskCard) -> Path | None:
    """Return the Python file that a card names; None for a module.

    Raises
    ------
    CardError
        If the file does not exist.
    """
    name, _ = split_module(card)
    if not is_file(name):
        return None
    folder = loader.user_folder(card)
    if folder is None:
        raise module_error(
            card, "a file is searched beside its card, which must be in a folder of --cards"
        )
    path = folder / name
    if not path.is_file():
        raise module_error(card, f"{path}: no such file. It is searched relative to the card")
    return path


def code_identity(card: ExtractorCard, file: Path | None = None) -> dict[str, str]:
    """Return what identifies the code of a user's card; empty for probekit's own networks.

    Parameters
    ----------
    card : ExtractorCard
        Nothing that it names is run.
    file : pathlib.Path, optional
        From :func:`code_file`, if that is known.

    Returns
    -------
    dict of str to str
        ``module`` as in the card, and ``source``: the SHA-256 of its file and of all files of the
        same folder or package that it imports. Code without Python files has the version of its
        ``distribution`` instead.

    Raises
    ------
    CardError
        If a file does not exist or is not Python.
    """
    name, attribute = split_module(card)
    if not is_file(name) and "." not in name and not attribute:
        return {}
    files = source_files(card, file or code_file(card))
    if files:
        return {"module": card.module, "source": _hash_files(files)}
    top = name.partition(".")[0]
    names = metadata.packages_distributions().get(top, [])
    versions = ", ".join(sorted({f"{name} {metadata.version(name)}" for name in names}))
    return {"module": card.module, "distribution": versions}


def source_files(card: ExtractorCard | TaskCard, file: Path | None) -> dict[str, Path]:
    """Return the Python files that importing a card's code runs, as far as they are the user's own.

    Imports are followed within the file's folder, or within the module's package; other packages
    are libraries. Imports under ``if TYPE_CHECKING`` do not count.

    Parameters
    ----------
    card : ExtractorCard or TaskCard
        Named in errors.
    file : pathlib.Path or None
        From :func:`code_file`.

    Returns
    -------
    dict of str to pathlib.Path
        Files by module name; the card's own file has its stem. Empty if there are none.
    """
    if file is not None:
        folder, top, first = file.parent, "", file.stem
        files = {first: file}
    else:
        first, _ = split_module(card)
        top = first.partition(".")[0]
        folder_or_none = _package_parent(top)
        if folder_or_none is None:
            return {}
        folder = folder_or_none
        files = dict(_module_files(folder, first))
    waiting = list(files)
    while waiting:
        name = waiting.pop()
        for imported in _imports(card, files[name], _package(name, files[name])):
            if top and imported.partition(".")[0] != top:
                continue
            for module, path in _module_files(folder, imported):
                if module not in files:
                    files[module] = path
                    waiting.append(module)
    return files


def import_card_module(
    card: ExtractorCard | TaskCard, builtins: str, file: Path | None = None
) -> ModuleType:
    """Import the code of a card.

    Parameters
    ----------
    card : ExtractorCard or TaskCard
        Named in errors.
    builtins : str
        ``probekit.extractors.networks`` or ``probekit.tasks.datasets``.
    file : pathlib.Path, optional
        From :func:`code_file`, if that is known.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    CardError
        If there is no such module or file, or it cannot be imported, or it changed since this
        process imported it.
    """
    name, attribute = split_module(card)
    file = file or code_file(card)
    if file is not None:
        return import_file(card, file)
    if "." not in name and not attribute:
        return _import_builtin(card, name, builtins)
    files = source_files(card, None)
    if any(_is_stale(module, path) for module, path in files.items()):
        raise module_error(
            card, f"its code changed after this process imported {name}; start Python again"
        )
    module = _run_import(card, name, lambda: import_module(name))
    _imported.update({path: _hash(path) for path in files.values()})
    return module


def import_file(card: ExtractorCard | TaskCard, file: Path) -> ModuleType:
    """Import a Python file that a card names; again if it changed, with what it imports beside it.

    Raises
    ------
    CardError
        If it cannot be imported, or another module was imported under the name of one beside it.
    """
    files = source_files(card, file)
    name = f"probekit_card_{file.stem}_{zlib.crc32(str(file.resolve()).encode()):08x}"
    digests = {path: _hash(path) for path in files.values()}
    if name in sys.modules and all(_imported.get(p) == digest for p, digest in digests.items()):
        return sys.modules[name]
    beside = {module: path for module, path in files.items() if path != file}
    for other, path in beside.items():
        if _is_at(sys.modules.get(other), path):
            del sys.modules[other]
    module = _run_import(card, file.name, lambda: _execute(name, file))
    for other, path in beside.items():
        if other in sys.modules and not _is_at(sys.modules[other], path):
            del sys.modules[name]
            origin = getattr(sys.modules[other], "__file__", None) or "a module of Python"
            raise module_error(
                card,
                f"{file.name} imports {other}, which should be {path}, but {origin} has this name. "
                "Rename the file",
            )
    _imported.update(digests)
    return module


def _execute(name: str, file: Path) -> ModuleType:
    """Run a file as a new module; what it imports is searched beside it first.

    No bytecode is written: it would be valid still after a change within the same second.
    """
    spec = util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    folder, write_no_bytecode = str(file.parent.resolve()), sys.dont_write_bytecode
    sys.modules[name] = module
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = write_no_bytecode
        sys.path.remove(folder)
    return module


def module_error(card: ExtractorCard | TaskCard, reason: str) -> CardError:
    """Return the error of a card whose code cannot be used."""
    kind = "task" if isinstance(card, TaskCard) else "extractor"
    return CardError(f"{kind} {card.name}: module {card.module!r} of its card: {reason}")


def _import_builtin(card: ExtractorCard | TaskCard, name: str, builtins: str) -> ModuleType:
    """Import a module of probekit by its short name."""
    modules = pkgutil.iter_modules(import_module(builtins).__path__)
    known = sorted(module.name for module in modules if not module.name.startswith("_"))
    if name in known:
        return import_module(f"{builtins}.{name}")
    kind = "network"
    hint = "For your own code write FILE.py:Class or package.module:Class"
    if isinstance(card, TaskCard):
        kind = "dataset"
        hint = (
            "For a table of your own: module: table, options: {csv: FILE}. For your own code write "
            "FILE.py or package.module"
        )
    raise module_error(
        card,
        f"not a {kind} of probekit.{did_you_mean(name, known)} Known: {', '.join(known)}. {hint}",
    )


def _run_import(
    card: ExtractorCard | TaskCard, name: str, run: Callable[[], ModuleType]
) -> ModuleType:
    """Import a user's code; whatever it raises becomes the card's error."""
    try:
        return run()
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            reason = f"no module named {error.name!r}. Install its package, or set PYTHONPATH"
        else:
            reason = f"{name} needs {error.name!r}, which is not installed"
        raise module_error(card, reason) from error
    except Exception as error:  # a user's code can raise anything
        reason = f"{name} cannot be imported ({type(error).__name__}: {error})"
        raise module_error(card, reason) from error


def _is_at(module: ModuleType | None, path: Path) -> bool:
    """Tell whether a module was imported from a file."""
    origin = getattr(module, "__file__", None)
    return origin is not None and Path(origin).resolve() == path.resolve()


def _is_stale(name: str, path: Path) -> bool:
    """Tell whether this process imported a module from a file that has changed since."""
    if not _is_at(sys.modules.get(name), path):
        return False
    digest = _imported.get(path)
    return path.stat().st_mtime > _START if digest is None else digest != _hash(path)


# ---- source files


def _hash_files(files: dict[str, Path]) -> str:
    """Return a SHA-256 over names and contents of Python files."""
    lines = [f"{name} {_hash(path)}\n" for name, path in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash(path: Path) -> str:
    """Return the SHA-256 of a text file, the same for all conventions of line ends."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _package_parent(top: str) -> Path | None:
    """Return the folder that holds a package or module, which is not imported; None if unknown."""
    try:
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def _module_files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the files that importing a module of a folder runs: its packages' and its own."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        stem = folder.joinpath(*parts[:depth])
        for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
            if path.is_file():
                yield ".".join(parts[:depth]), path
                break


def _package(name: str, path: Path) -> str:
    """Return the package that relative imports of a module refer to."""
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _imports(card: ExtractorCard | TaskCard, path: Path, package: str) -> Iterator[str]:
    """Yield the absolute names of everything that a file imports, or may import."""
    try:
        pairs = _parse_imports(path, path.stat().st_mtime_ns)
    except (SyntaxError, ValueError) as error:
        reason = f"{path.name} cannot be imported ({type(error).__name__}: {error})"
        raise module_error(card, reason) from error
    parents = package.split(".") if package else []
    for level, name in pairs:
        if level:
            base = parents[: len(parents) - level + 1]
            yield ".".join([*base, *filter(None, [name])])
        else:
            yield name


@lru_cache(maxsize=4096)
def _parse_imports(path: Path, mtime_ns: int) -> tuple[tuple[int, str], ...]:
    """Return level and name of each import of a file, those inside functions included."""
    imports: list[tuple[int, str]] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            imports.extend((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            imports.append((node.level, module))
            names = (alias.name for alias in node.names if alias.name != "*")
            imports.extend((node.level, f"{module}.{name}".strip(".")) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_bytes(), str(path)))
    return tuple(dict.fromkeys(imports))
