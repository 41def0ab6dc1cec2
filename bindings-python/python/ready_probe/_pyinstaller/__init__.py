"""Where PyInstaller finds the hook of this package: the entry point ``pyinstaller40`` leads here."""

import os


def hook_dirs():
    """The folders with hooks."""
    return [os.path.dirname(__file__)]
