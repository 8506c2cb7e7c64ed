"""Archives and folders as students hand them in, and as attackers do."""

import io
import tarfile
import zipfile


def pairs_in(entries):
    """Names and contents, given as a dict or as pairs."""
    return entries.items() if isinstance(entries, dict) else entries


def zipped(entries):
    """A zip archive; names may be `ZipInfo` objects."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs_in(entries):
            archive.writestr(name, content)
    return data.getvalue()


def tarred(entries, mode="w:gz"):
    """A tar archive; in place of a content there may be a kind of entry and what it links to."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in pairs_in(entries):
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = content
                archive.addfile(entry)
    return data.getvalue()


def link_in_zip(name):
    """An entry's name that makes its content a link's target."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


def hand_in(folder, entries):
    """The folder, with these files in it."""
    for name, content in pairs_in(entries):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
