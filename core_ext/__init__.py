"""The Cython half of Ghostwire, one concept a file; only `ghostwire._native` imports it."""
