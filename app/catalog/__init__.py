"""The menu over HTTP: methods, networks, presets and datasets."""
