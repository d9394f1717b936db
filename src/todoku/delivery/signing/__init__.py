"""Signing: DKIM signatures for everything that leaves, made in processes of their own.

Purpose     `SigningDesk.signer_of(sender_address)` gives the engine the signer of a run's From address.
Reads       `<home>/dkim/<domain>/<selector>.pem`, mode 0600.
Writes      the same folder, by `todoku dkim new|use|stop` only.
Guarantees  a key that others may read is refused; a key that is added, changed or taken away counts within
            RELOAD_SECONDS without a restart; a folder that became unreadable leaves the keys as they were, and says
            so in the log. At most as many signing processes as cores, started when there is something to sign; they
            get keys and hashes through a pipe, and end with their sender, however that ends. One that dies is
            replaced, and what it had is signed again.
Settings    TODOKU_HOME
Known limits  keys are files: no HSM, no key service.
"""

from todoku.delivery.signing.desk import SigningDesk
from todoku.delivery.signing.key_folder import KeyFile, KeyFolder, StoredKey

__all__ = ["KeyFile", "KeyFolder", "SigningDesk", "StoredKey"]
