"""The file system that a directory lies on."""

from pathlib import Path

_NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "panfs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "wekafs",
    ]
)


def is_network(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a directory lies on a file system that several machines share, where mmap is not shared.

    False if the system has no table of mounts.
    """
    if not mounts.is_file():
        return False
    found, kind = Path("/"), ""
    where = directory.resolve()
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, point, fstype, *_ = line.split(" ")
        mount = Path(point.encode("latin-1", "surrogateescape").decode("unicode_escape"))
        if where.is_relative_to(mount) and len(mount.parts) >= len(found.parts):
            found, kind = mount, fstype
    return kind in _NETWORK
