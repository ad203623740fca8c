"""Speed, one file a noun, in asv's form: classes with `setup`, `time_*` (seconds a call) and `track_*` (a figure).

A class with `gate_calls` is deterministic work on the CPU alone and guarded by ci/perf_gate.py, which counts the
instructions of that many calls. Nothing is measured on a build that is not optimised.
"""

from ghostwire import _native
from ghostwire.errors import InternalError

if _native.build_profile() not in {"release", "editable"}:
    raise InternalError(f"this is a {_native.build_profile()} build and measures nothing: run `uv sync`")
