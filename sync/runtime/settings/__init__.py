"""The machinery of a configuration, for both programs: TOML and environment, read and checked.

A program brings its settings, a `SettingsTree`. Nothing here touches the disk beyond
reading the configuration file, and the secret files when asked to.
"""
