/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_mount.c - the table of `vixdisk mount`, which vixdisk and vixdisk-mount share. */
#include "commands.h"
#include "mount.h"

static const struct option_spec options[] = {
    {.name = "writable",
     .letter = 'w',
     .kind = OPTION_FLAG,
     .at = offsetof(struct mount_args, writable),
     .help = "let the files be written; fsync makes it last"},
    {.name = "cow",
     .kind = OPTION_TEXT,
     .at = offsetof(struct mount_args, cow),
     .arg = "FILE",
     .help = "let them be written, and keep what is written in FILE, a child disk; PATH stays as it is"},
    {.name = "foreground",
     .letter = 'f',
     .kind = OPTION_FLAG,
     .at = offsetof(struct mount_args, foreground),
     .help = "stay here until it is unmounted"},
    {.name = "allow-other",
     .kind = OPTION_FLAG,
     .at = offsetof(struct mount_args, allow_other),
     .help = "other users may look, too (for those who are not root: user_allow_other in /etc/fuse.conf)"},
    {.name = "format",
     .kind = OPTION_FORMAT,
     .at = offsetof(struct mount_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.kind = OPTION_END},
};

const struct command command_mount = {
    .name = "mount",
    .usage = "PATH DIR",
    .summary = "show a disk and its partitions as files",
    .details =
        "DIR then has the files disk (all of it), p1, p2 ... (the partitions of its MBR or GPT) and info.json. File\n"
        "systems in them are for others: mount -o loop,ro DIR/p1 /mnt, fuse2fs, guestmount --ro -a DIR/disk -i /mnt.\n"
        "The files are as long as what they show, and cannot be made longer or shorter: write with dd conv=notrunc.\n"
        "As with /dev/sda and /dev/sda1, do not use disk and p1 at the same time if one of them is written.\n"
        "It ends with fusermount3 -u DIR; needs FUSE and fusermount3 (Debian: fuse3).",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE,
    .args_size = sizeof(struct mount_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = mount_run,
};
