hiddenimports: list[str]
binaries: list[tuple[str, str]]
