#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# install/image/Containerfile, built by the command in docs/cdi-forklift.md, by buildah without a registry: Debian 12 is a
# root that scripts/get-root has made, with less in it than Debian's own image. The image must be the one that
# scripts/make-oci makes of the same tree, and do in a pod what tests/tree/image.sh asks of that.
#   tests/tree/containerfile.sh
# Needs root, and some GiB in $TMPDIR: each step of the build is a whole copy.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../lib/tap.sh"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin

if [ "$(id -u)" -ne 0 ]; then
    echo "not ok - the engine is run by root"
    exit 1
fi
engine() { buildah --root "$TMP/storage" --runroot "$TMP/running" --storage-driver vfs "$@"; }

version=$("$SRC/scripts/version")
debian=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' "$SRC/install/image/Containerfile")
tarball=$("$SRC/scripts/get-root") || { echo "not ok - there is a root of Debian"; exit 1; }
mkdir base
base() {
    tar -xf "$tarball" -C base && rm -rf base/dev/* base/var/lib/apt/lists/* base/var/cache/apt/archives/* &&
        container=$(engine from scratch) && engine copy -q "$container" base / && engine commit -q --rm "$container" "$debian"
}
try "a root of Debian is an image: $debian" base
rm -rf base

# The source as it is now, with something in the folder that engines are to leave out.
mkdir -p source/build/left
(cd "$SRC" && git ls-files -z --cached --others --exclude-standard | tar -cf - --null --no-recursion -T -) | tar -xf - -C source

# The guide's command, with what lets buildah do it here.
command=$(sed -n 's/^    podman build \(.* -t\) NAME \.$/\1/p' "$SRC/docs/cdi-forklift.md")
build() { # name options...
    echo "$command"
    (cd source && eval "engine build --isolation chroot --pull-never --layers --identity-label=false ${*:2} $command $1 .")
}
first_stage() { [ -n "$command" ] && build stage --target build; }
try "its first stage makes the tree" first_stage
taken_out() {
    container=$(engine from --pull-never stage) && mounted=$(engine mount "$container") && [ ! -e "$mounted/src/build/left" ] &&
        cp -a "$mounted/dist" dist && engine rm "$container"
}
try "the tree is in it, and nothing of a build folder" taken_out
last_stage() { build vixdisk-vddk && engine push -q vixdisk-vddk "oci-archive:$TMP/built.oci.tar"; }
try "its last stage makes the image" last_stage

artefact=vixdisk-vddk-$version.$(uname -m)
"$SRC/scripts/make-oci" "dist/$artefact.oci.tar" dist
same_image() {
    /usr/bin/python3 - "dist/$artefact.oci.tar" built.oci.tar <<'PYTHON'
import hashlib, io, json, sys, tarfile


def image(path):
    """The configuration of an archive with one image, and what is in its layers."""
    with tarfile.open(path) as archive:
        def blob(descriptor):
            return archive.extractfile("blobs/" + descriptor["digest"].replace(":", "/")).read()

        found = json.load(archive.extractfile("index.json"))["manifests"][0]
        while "index" in found["mediaType"]:
            found = json.loads(blob(found))["manifests"][0]
        manifest = json.loads(blob(found))
        files = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(blob(layer))) as content:
                for entry in content:
                    digest = hashlib.sha256(content.extractfile(entry).read()).hexdigest() if entry.isreg() else ""
                    files[entry.name.strip("/")] = (entry.type, oct(entry.mode & 0o7777) if not entry.issym() else "",
                                                    entry.uid, entry.gid, entry.linkname, digest)
        return json.loads(blob(manifest["config"])), files


(ours, our_files), (built, files) = image(sys.argv[1]), image(sys.argv[2])
for name in sorted(set(files) | set(our_files)):
    if files.get(name) != our_files.get(name):
        print(name, our_files.get(name), files.get(name))
assert files == our_files and len(files) > 50
for config in ours["config"], built["config"]:
    config["WorkingDir"] = config.get("WorkingDir") or "/"
for name in ("Entrypoint", "User", "Labels", "WorkingDir", "Cmd"):
    print(name, ours["config"].get(name), built["config"].get(name))
    assert ours["config"].get(name) == built["config"].get(name), name
assert ours["os"] == built["os"] and ours["architecture"] == built["architecture"]
PYTHON
}
try "it is the image that scripts/make-oci makes of that tree: files, rights, owners, entry point, user, labels" same_image

status=0
"$SRC/tests/tree/image.sh" "$TMP/dist" "$TMP/built.oci.tar" || status=$?
try "all that tests/tree/image.sh asks of an image" test "$status" -eq 0
