"""Which settings of an object store are sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass

#: Settings whose names contain one of these are not sent. Other processes take them
#: from their own environment.
_SECRET = ("key", "secret", "token", "password", "credential", "sas", "service_account")


def without_secrets(options: dict[str, str] | None) -> dict[str, str] | None:
    """Settings of an object store, except those that look like credentials."""
    if options is None:
        return None
    return {name: value for name, value in options.items() if not _is_secret(name, value)}


def _is_secret(name: str, value: str) -> bool:
    return any(part in name.lower() for part in _SECRET) or "@" in str(value)


#: Address → the complete settings of datasets that this process has pickled without
#: secrets. When this process unpickles them itself, it uses these settings.
_HELD: dict[str, dict[str, str]] = {}

HOW_TO_SUPPLY = (
    "Secrets in `storage_options` are not sent to other processes: set them in their "
    "environment, such as AWS_ACCESS_KEY_ID."
)


@dataclass(frozen=True)
class SentOptions:
    """Settings of an object store as they are pickled."""

    sent: dict[str, str] | None
    #: Whether secrets were left out.
    withheld: bool

    @classmethod
    def of(cls, uri: str, options: dict[str, str] | None) -> SentOptions:
        sent = without_secrets(options)
        if options is not None and sent != options:
            _HELD[uri] = options
        return cls(sent, sent != options)

    def here(self, uri: str) -> dict[str, str] | None:
        """The settings, including the secrets if this process pickled them."""
        held = _HELD.get(uri) if self.withheld else None
        return held if held is not None and without_secrets(held) == self.sent else self.sent
