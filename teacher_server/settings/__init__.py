"""Every option of the vendor, and the sources that they are read from."""

from teacher_server.settings.environment import unread_variables
from teacher_server.settings.load import load_settings
from teacher_server.settings.options import VendorSettings

__all__ = ["VendorSettings", "load_settings", "unread_variables"]
