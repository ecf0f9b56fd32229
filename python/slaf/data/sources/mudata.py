"""MuData: several AnnData of the same cells, each of them a named modality."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import attribute, encoding_of, is_group, place_of


def chosen(file: Any, modality: str | None) -> Any:
    """The group of the AnnData in `file`, or of the named modality."""
    is_mudata = encoding_of(file)[0].lower() == "mudata" or (
        "mod" in file and is_group(file["mod"]) and "X" not in file
    )
    if not is_mudata:
        if modality is not None:
            raise no_modalities(place_of(file), modality)
        return file
    group = file["mod"] if "mod" in file else {}
    order = attribute(group, "mod-order", ()) if len(group) else ()
    known = [*[name for name in order if name in group], *(n for n in group if n not in order)]
    return group[one_of(known, modality, place_of(file))]


def modality_of(mudata: Any, modality: str | None) -> Any:
    """The AnnData of the named modality; an object without modalities is returned as it
    is."""
    modalities = getattr(mudata, "mod", None)
    if not isinstance(modalities, Mapping):
        if modality is not None:
            raise no_modalities("the AnnData object", modality)
        return mudata
    return modalities[one_of(modalities, modality, "the MuData object")]


def one_of(known: Iterable[str], modality: str | None, place: str) -> str:
    known = list(known)
    if modality in known:
        return modality
    near = difflib.get_close_matches(modality or "", known, 3, 0.4)
    names = ", ".join(f"`{name}`" for name in known) or "none"
    wrong = "" if modality is None else f" It has no `{modality}`."
    example = (near or known or ["rna"])[0]
    raise SlafError(
        f"{_quoted(place)} is MuData, with the modalities {names}.{wrong} Say which to convert: "
        f'`modality="{example}"`, `--modality {example}`.'
    )


def no_modalities(place: str, modality: str) -> SlafError:
    return SlafError(
        f"{_quoted(place)} is not MuData, and has no modality `{modality}`. Leave the modality out."
    )


def _quoted(place: str) -> str:
    return place[0].upper() + place[1:] if place.startswith("the ") else f"`{place}`"
