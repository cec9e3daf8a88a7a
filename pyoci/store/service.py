"""PackageStore: what a caller may do with the packages of a namespace. The web room knows only this."""
