from typing import Final

from . import blocks as blocks
from . import policy as policy
from . import sqlite as sqlite
from . import token as token
from . import tunnel as tunnel

BUILD_PROFILE: Final[str]
SOURCES_DIGEST: Final[str]
VERSION: Final[str]
