from chatapi.settings.loading import load_catalogue, load_settings
from chatapi.settings.model import Settings
from chatapi.settings.sources import PROJECT_ROOT

__all__ = ["PROJECT_ROOT", "Settings", "load_catalogue", "load_settings"]
