"""Speed, one file a noun, in asv's form: classes with `setup`, `time_*` (seconds a call) and `track_*` (a figure).

A class with `gate_calls` is deterministic work on the CPU alone and guarded by ci/perf_gate.py, which counts the
instructions of that many calls. `at_least` says what ratios of the class must reach, each with its denominator in the
same run: ci/perf_gate.py holds them, too. Nothing is measured on a build that is not optimised.
"""

from ghostwire import _native
from ghostwire.errors import InternalError

if _native.build_profile() not in {"release", "editable"}:
    raise InternalError(f"this is a {_native.build_profile()} build and measures nothing: run `uv sync`")
