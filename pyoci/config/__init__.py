"""The operator's settings: every environment variable that PyOCI reads, in one table."""

from pyoci.config.client import ClientSettings, MirrorSettings
from pyoci.config.environment import WrongSettings
from pyoci.config.settings import Settings

__all__ = ["ClientSettings", "MirrorSettings", "Settings", "WrongSettings"]
