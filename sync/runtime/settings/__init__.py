"""Settings loading for both programs: defaults, TOML file, environment, validation.

Each program defines its settings as a subclass of `SettingsTree`. This package only reads: the
configuration file, and the secret files on request.
"""
