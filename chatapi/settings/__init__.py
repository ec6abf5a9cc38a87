from chatapi.settings.model import Settings, load_settings
from chatapi.settings.sources import PROJECT_ROOT

__all__ = ["PROJECT_ROOT", "Settings", "load_settings"]
