"""Compare the stubs of compiled packages with what is compiled.

mypy's stubtest imports each module by its name. The submodules of the Rust binary are attributes of one shared
library, so they get their names here, for this process only.
"""

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import rust_ext._rust
from mypy.stubtest import main

# Cython puts __test__ into every module, and what C finds there into some; PyO3 __all__: none is part of the face. A
# buffer has a name of its own in Python from 3.12 on only.
ALLOWED = r"""
core_ext\..*\.__test__
core_ext\..*\.__pyx_capi__
rust_ext\._rust(\..*)?\.__all__
.*\.__buffer__
"""

for name, module in list(vars(rust_ext._rust).items()):
    if isinstance(module, ModuleType):
        sys.modules[f"rust_ext._rust.{name}"] = module

with tempfile.TemporaryDirectory() as folder:
    allowlist = Path(folder) / "allowed"
    allowlist.write_text(ALLOWED)
    sys.argv[1:] += ["--allowlist", str(allowlist), "--ignore-unused-allowlist"]
    sys.exit(main())
