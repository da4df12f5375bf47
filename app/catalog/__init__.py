"""The menu over HTTP: methods, regularisers, networks, decoders, presets and datasets."""
