"""What this binary was built from."""

cdef extern from *:
    """
    #ifndef GHOSTWIRE_DIGEST
    #define GHOSTWIRE_DIGEST "unknown"
    #endif
    #ifndef GHOSTWIRE_DEBUG
    #define GHOSTWIRE_DEBUG 0
    #endif
    """
    const char *GHOSTWIRE_DIGEST
    int GHOSTWIRE_DEBUG

SOURCES_DIGEST = GHOSTWIRE_DIGEST.decode("ascii")
DEBUG = bool(GHOSTWIRE_DEBUG)
