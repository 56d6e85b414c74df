"""Write tiny stand-ins for the CUDA libraries that torch links against but a CPU image leaves out.

PyPI's torch for Linux is linked against some 3 GB of CUDA libraries and cannot be imported without
them, even where there is no GPU. This tool looks at every library of the torch in a site-packages
folder, finds the linked libraries that are not installed, and compiles for each of them a shared
library of the same SONAME that exports exactly the symbols (and symbol versions) torch imports.
Each function ends the process with a sentence; none can be reached unless a GPU is found, and the
real CUDA runtime, which looks for one, stays in the image.

Usage: python cuda_stubs.py SITE_PACKAGES   (needs gcc and readelf; prints what it wrote)
"""

import ctypes
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
VERSION_FILE = re.compile(r"File: (\S+)")
VERSION_NAME = re.compile(r"Name: (\S+)\s+Flags")
SYMBOL = re.compile(
    r"^\s*\d+: \S+\s+\S+ \S+\s+(?P<bind>\S+)\s+\S+\s+(?P<section>\S+) (?P<name>[^\s@]+)"
    r"(?:@+(?P<version>\S+))?"
)

# Opened by torch only once a GPU is in use, so its own dependencies may be missing.
LAZY = frozenset({"libcaffe2_nvrtc.so"})

# By this symbol a later run, for another torch, knows what an earlier one wrote.
MARK = "kubedistill_cuda_stub"

FUNCTION = 'void {name}(void) {{ absent("{name}"); }}'
SOURCE = """\
#include <stdio.h>
#include <stdlib.h>

static void absent(const char *function) {{
    fprintf(stderr, "%s: the CUDA library {soname} is not part of the CPU image; "
                    "use an image built with ACCELERATOR=cuda\\n", function);
    abort();
}}

void {mark}(void) {{}}

{functions}
"""


@dataclass(frozen=True, slots=True)
class Library:
    """What the dynamic section of one shared library says."""

    name: str
    needed: frozenset[str]
    imports: frozenset[tuple[str, str]]  # symbol, version or ""
    exports: frozenset[str]
    version_files: Mapping[str, str]  # version -> library that must define it


@dataclass(frozen=True, slots=True)
class Stub:
    """A library to write: version -> symbols; unversioned symbols stand under ""."""

    soname: str
    symbols: Mapping[str, frozenset[str]]


def parse(name: str, listing: str) -> Library:
    """Read the output of `readelf -W --dynamic --version-info --dyn-syms`."""
    needed: set[str] = set()
    imports: set[tuple[str, str]] = set()
    exports: set[str] = set()
    version_files: dict[str, str] = {}
    file = ""
    for line in listing.splitlines():
        if found := NEEDED.search(line):
            needed.add(found[1])
        elif found := VERSION_FILE.search(line):
            file = found[1]
        elif file and (found := VERSION_NAME.search(line)):
            version_files[found[1]] = file
        elif found := SYMBOL.match(line):
            if found["section"] != "UND":
                exports.add(found["name"])
            elif found["bind"] == "GLOBAL":  # a WEAK import may stay unresolved
                imports.add((found["name"], found["version"] or ""))
    return Library(name, frozenset(needed), frozenset(imports), frozenset(exports), version_files)


def read(path: Path) -> Library:
    """Run readelf on one library."""
    command = ["readelf", "-W", "--dynamic", "--version-info", "--dyn-syms", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return parse(path.name, done.stdout)


def plan(
    libraries: Iterable[Library], installed: Iterable[Library], provided: Callable[[str], bool]
) -> tuple[Stub, ...]:
    """Decide which libraries to write, with which symbols.

    libraries: torch's own. installed: those that may satisfy them, torch's own included.
    provided: whether the system or the Python process itself has a library or a symbol.
    A symbol without a version does not say where it lives, so it goes into every missing library
    of its importer that defines no versions; the loader takes the first, and they are all alike.
    """
    installed = tuple(installed)
    names = {library.name for library in installed}
    known = {symbol for library in installed for symbol in library.exports}
    wanted: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for library in libraries:
        missing = {name for name in library.needed - names if not provided(name)}
        plain = missing - set(library.version_files.values())
        for name in missing:
            wanted[name][""].update()
        for symbol, version in library.imports:
            if (owner := library.version_files.get(version)) in missing and owner is not None:
                wanted[owner][version].add(symbol)
            elif not version and plain and symbol not in known and not provided(symbol):
                for name in plain:
                    wanted[name][""].add(symbol)
    return tuple(
        Stub(soname, {version: frozenset(names) for version, names in sorted(versions.items())})
        for soname, versions in sorted(wanted.items())
    )


def source(stub: Stub) -> str:
    """Return the C source of a stub."""
    names = sorted(set().union(*stub.symbols.values()))
    functions = "\n".join(FUNCTION.format(name=name) for name in names)
    return SOURCE.format(soname=stub.soname, mark=MARK, functions=functions)


def version_script(stub: Stub) -> str:
    """Return the linker's version script of a stub; empty where no symbol has a version."""
    blocks = (
        f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))} }};"
        for version, names in stub.symbols.items()
        if version
    )
    return "\n".join(blocks)


def build(stub: Stub, folder: Path) -> Path:
    """Compile a stub into the folder."""
    target = folder / stub.soname
    with tempfile.TemporaryDirectory() as scratch:
        code, script = Path(scratch, "stub.c"), Path(scratch, "stub.map")
        code.write_text(source(stub))
        script.write_text(version_script(stub))
        versions = [f"-Wl,--version-script={script}"] if script.read_text() else []
        flags = ["-shared", "-fPIC", "-O1", "-s", "-w", f"-Wl,-soname,{stub.soname}", *versions]
        subprocess.run(["gcc", *flags, "-o", str(target), str(code)], check=True)
    return target


def remove_former(folder: Path) -> Iterator[Library]:
    """Delete the stubs of an earlier run; yield what else the folder holds."""
    for path in sorted(folder.glob("*.so*")):
        library = read(path)
        if MARK in library.exports:
            path.unlink()
        else:
            yield library


def provided_by_system(name: str) -> bool:
    """Say whether a library can be opened, or a symbol found, in this Python as it is."""
    if ".so" in name:
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # so that its symbols are found below
        except OSError:
            return False
        return True
    return hasattr(ctypes.CDLL(None), name)


def main(arguments: list[str]) -> int:
    """Write the stubs beside torch's libraries, where its run path looks last."""
    if len(arguments) != 1 or not (own := Path(arguments[0], "torch", "lib")).is_dir():
        sys.stderr.write("usage: cuda_stubs.py SITE_PACKAGES, the folder that holds torch/lib\n")
        return 2
    libraries = list(remove_former(own))
    others = [read(path) for path in sorted(Path(arguments[0], "nvidia").rglob("*.so*"))]
    eager = [library for library in libraries if library.name not in LAZY]
    for stub in plan(eager, [*libraries, *others], provided_by_system):
        count = sum(map(len, stub.symbols.values()))
        print(f"cuda_stubs: {build(stub, own)} stands in with {count} functions")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
