"""Compile core_ext; everything else about the distribution lives in pyproject.toml."""

import hashlib
import os
import shutil
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

HERE = Path(__file__).parent
DEBUG = os.environ.get("GHOSTWIRE_DEBUG", "") not in ("", "0")
CPUS = os.cpu_count() or 1


def sources_digest() -> str:
    """SHA-256 over every Cython source; `ghostwire._native` computes the same and compares."""
    digest = hashlib.sha256()
    folder = HERE / "core_ext"
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".pyx", ".pxd")):
        text = path.read_bytes()
        digest.update(f"{path.name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


sources = sorted(p.relative_to(HERE) for p in (HERE / "core_ext").glob("*.pyx"))
if not sources:
    raise SystemExit("core_ext has no .pyx: broken sdist (see MANIFEST.in)")
DIGEST = sources_digest()


def uses_numpy(path: Path) -> bool:
    return "cimport numpy" in (HERE / path).read_text()


def extension(path: Path) -> Extension:
    macros = [("CYTHON_TRACE_NOGIL", "1")] if DEBUG else []
    if uses_numpy(path):
        macros.append(("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"))
    if path.stem == "build_info":
        macros += [("GHOSTWIRE_DIGEST", f'"{DIGEST}"'), ("GHOSTWIRE_DEBUG", str(int(DEBUG)))]
    return Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=[numpy.get_include()] if uses_numpy(path) else [],
        define_macros=macros,
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O3", "-g0"],
    )


DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "wraparound": False,
    "embedsignature": True,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "linetrace": DEBUG,
}


class CachedBuildExt(build_ext):
    """Editable builds get a fresh temporary folder every time: keep each .so and reuse it while its .c is older."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        flavour = f"{sysconfig.get_config_var('SOABI')}-np{numpy.__version__}-{'debug' if DEBUG else 'opt'}"
        name = f"{DIGEST[:16]}-{target.name}" if ext.name.endswith(".build_info") else target.name
        cached = HERE / "build" / flavour / name
        if newer_group([*ext.sources, __file__], str(cached)):
            target.unlink(missing_ok=True)  # else it passes for up to date: a changed digest is in no source's time
            super().build_extension(ext)
            cached.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(target, cached)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(cached, target)  # with a time of now, else an editable build keeps what it has


setup(
    cmdclass={"build_ext": CachedBuildExt},
    options={"build_ext": {"parallel": CPUS}},
    ext_modules=cythonize(
        [extension(path) for path in sources],
        build_dir="build/cython",
        nthreads=CPUS,
        compiler_directives=DIRECTIVES,
    ),
)
