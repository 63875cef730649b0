"""`loyalty-agent rotate-key`: a new encryption key; the old one stays as long as it is needed."""

import os
from pathlib import Path

from agent.cli.client import AGENT
from agent.store.crypto.old_keys import keep_as_old, rotate
from agent.store.crypto.vault import UnusableKey, read_vault
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import say
from sync.runtime.cli.program import ExitCode
from sync.runtime.files.ownership import acting_as_owner

_CREDENTIAL = Path("/etc/loyalty-agent/credentials/encryption-key")
_RUN = "/run/credentials"


def rotate_key(config: ConfigFile = None) -> None:
    """Replace the encryption key by a new one.

    The running agent uses the new key within seconds; no restart is needed. The old key stays in
    the storage directory until nothing needs it, and is destroyed then. A key outside of the
    storage directory, such as a credential, is not changed: the command keeps it as an old one, and
    says what to do. The exit code is 1 then.
    """
    storage = AGENT.settings(config).storage
    key, directory = storage.encryption_key_path, storage.directory
    if not os.path.lexists(key):
        AGENT.fail(f"there is no key {key} yet: the agent makes one at its first start")
    try:
        if key.parent.resolve() != directory.resolve():
            present = read_vault(key)
            with acting_as_owner(directory):
                kept = keep_as_old(present, directory)
            AGENT.fail(_what_to_do(key, kept))
        with acting_as_owner(directory):
            new = rotate(key, directory)
    except UnusableKey as error:
        AGENT.fail(str(error), ExitCode.USAGE)
    except OSError as error:
        AGENT.fail(f"the key was not changed: {error.filename or key}: {error.strerror or error}")
    say(f"{key} holds a new key ({new.name}): keep a copy of it in another place.")
    say("The old key is kept until nothing needs it, and is destroyed then (see the log).")


def _what_to_do(key: Path, kept: Path) -> str:
    source = _CREDENTIAL if str(key).startswith(_RUN) else key
    return (
        f"the key {key} is not in the storage directory, and was not changed. It is kept as"
        f" {kept}, so that you can replace it now: head -c 32 /dev/urandom | base64 | install -m"
        f" 600 /dev/stdin {source} && systemctl restart loyalty-agent"
    )
